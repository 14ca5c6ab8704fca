"""Out of distribution: a whole data set is normal, each of some others is anomalous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomem.images.combined import choose
from anomem.images.frame_shape import square_shape, typical_image
from anomem.images.source import ImageSource
from anomem_bench.contender import Contender
from anomem_bench.datasets.parts import Part, Parts
from anomem_bench.exam import Exam, Judgement, judge_each_test
from anomem_bench.metrics import ood_metrics
from anomem_bench.protocols.protocol import AllNormal
from anomem_bench.protocols.reencoded import ReencodedSource, jpeg_of
from anomem_bench.results import RE_ENCODED
from anomem_bench.split import Cell, Split

_LONGEST = 2**16
"""Bound on the side of a re-encoded image: none, so that size does not give it away either."""


@dataclass(frozen=True)
class Outliers:
    """Holds images of another data set for methods that train on some.

    Attributes:
        name: Of the data set.
        classes: Names of the classes that the images are of.
        images: Of these classes alone.
    """

    name: str
    classes: tuple[str, ...]
    images: ImageSource


@dataclass(frozen=True)
class Ood(AllNormal):
    """Takes all classes of a data set as normal, the images of others as anomalous.

    Where the images in distribution are JPEG files, each other set is tested twice: as it is, and
    brought to their size and encoded with their tables, so that the format of its files does not
    give it away. Methods may be given the classes of the normals, and outliers to train on, which
    are brought to that size and encoding too.

    Attributes:
        others: Test images of other data sets, by name.
        outliers: None for none.
    """

    others: Mapping[str, ImageSource] = field(kw_only=True)
    outliers: Outliers | None = None
    name: str = "ood"

    @property
    def title(self) -> str:
        """Name the data set, and where the outliers come from."""
        outliers = f", outliers of {self.outliers.name}" if self.outliers else ""
        return super().title + outliers

    @property
    def details(self) -> dict[str, Any]:
        """Name the classes of the outliers, and count their images."""
        if self.outliers is None:
            return {}
        return {"outliers": {"data": self.outliers.name, "classes": list(self.outliers.classes),
                             "images": len(self.outliers.images)}}  # fmt: skip

    def tests_of(self, cell: Cell) -> list[str]:  # noqa: ARG002 - each has the same tests
        """Name each other set, and again re-encoded."""
        jpeg = jpeg_of(self.parts.test.images)
        again = [f"{name}{RE_ENCODED}" for name in self.others] if jpeg else []
        return [*self.others, *again]

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell; all draws have the same test images."""
        tests = {
            name: choose(images, self.caps.some(np.arange(len(images))))
            for name, images in self.others.items()
        }
        normals, trained = self.parts.test.images, self.trained_on(cell)
        outliers = None if self.outliers is None else self.outliers.images
        if jpeg := jpeg_of(normals):
            shape = square_shape(typical_image(normals), longest=_LONGEST)
            for name, images in list(tests.items()):
                tests[f"{name}{RE_ENCODED}"] = ReencodedSource(images, jpeg, shape)
            if outliers is not None:
                outliers = ReencodedSource(outliers, jpeg, shape)
        return Split(
            trained.images,
            None,
            self.tested_on().images,
            tests,
            classes=trained.label,
            outliers=outliers,
        )

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """Measure AUROC, AUPR both ways, and FPR at 95% TPR, of each score."""
        return judge_each_test(contender, exam, ood_metrics)


def half_as_outliers(name: str, parts: Parts) -> tuple[Outliers, Part]:
    """Take every second class of a data set for outliers; the others are left to be tested.

    Args:
        name: Of the data set.
        parts: Outliers come from the part to train on, if there is one.

    Returns:
        The outliers, and the test images of all other classes.

    Raises:
        ValueError: There are fewer than two classes.
    """
    test, trained = parts.test, parts.train or parts.test
    classes = [k for index, k in enumerate(test.classes) if index in test.label]
    outliers, tested = tuple(classes[::2]), classes[1::2]
    if not tested or not len(trained.of(outliers)):
        raise ValueError(
            f"outliers come from half of the classes of {name}, and it has {len(classes)} with "
            "images; give a set of two or more."
        )
    images = trained.choose(trained.of(outliers)).images
    return Outliers(name, outliers, images), test.choose(test.of(tested))
