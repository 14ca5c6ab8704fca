"""What a method is measured on, and what its scores are worth there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anomem.config import Config
from anomem.images.image_set import Chosen, ImageSet
from anomem.images.prepare import prepare
from anomem_bench.contender import Contender, TrainingSet
from anomem_bench.split import Split


@dataclass(frozen=True)
class Measures:
    """Says what a score is worth on a test.

    Attributes:
        measures: By name, in [0, 1].
        images: Number of images measured on.
    """

    measures: dict[str, float]
    images: int


Judgement = dict[str, dict[str, Measures]]
"""By score, and by test."""
Measure = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], dict[str, float]]
"""From the scores of normals and of anomalies to measures in [0, 1], by name."""


@dataclass(frozen=True)
class Exam:
    """Holds a split at the size that a method asks for; attributes as of :class:`Split`."""

    trained: TrainingSet
    test_normals: ImageSet
    test_anomalies: dict[str, ImageSet]
    development: ImageSet | None
    labels: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None

    @staticmethod
    def of(split: Split, config: Config) -> Exam:
        """Prepare the images of a split."""
        trained = TrainingSet.of(
            split.normals,
            split.anomalies,
            config,
            classes=split.classes,
            outliers=split.outliers,
        )
        return Exam(
            trained,
            prepare(split.test_normals, trained.shape),
            {kind: prepare(images, trained.shape) for kind, images in split.test_anomalies.items()},
            None if split.development is None else prepare(split.development, trained.shape),
            split.labels,
        )

    def thinned(self, most: int) -> Exam:
        """Keep about so many test images, evenly spaced in each set."""
        count = len(self.test_normals) + sum(map(len, self.test_anomalies.values()))
        share = min(most / count, 1.0)

        def thin(images: ImageSet) -> Chosen:
            return Chosen.of(images).spread(max(round(share * len(images)), 1))

        normals = thin(self.test_normals)
        labels = self.labels and (self.labels[0], self.labels[1][normals.indices.numpy()])
        anomalies: dict[str, ImageSet] = {k: thin(v) for k, v in self.test_anomalies.items()}
        return replace(self, test_normals=normals, test_anomalies=anomalies, labels=labels)


def judge_each_test(contender: Contender, exam: Exam, measure: Measure) -> Judgement:
    """Measure every score of a contender on every test of an exam, the normals being the same."""
    normal = contender.scores(exam.test_normals)
    tests = {test: contender.scores(images) for test, images in exam.test_anomalies.items()}
    return {
        score: {
            test: Measures(measure(good, odd[score]), len(good) + len(odd[score]))
            for test, odd in tests.items()
        }
        for score, good in normal.items()
    }
