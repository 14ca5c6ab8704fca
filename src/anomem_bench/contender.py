"""What takes part in a benchmark: the detector and every method of the literature alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from anomem.config import Config
from anomem.config.presets import resolve
from anomem.detector.frame import square_image_shape
from anomem.images.image_set import ImageSet
from anomem.images.open import open_images
from anomem.images.prepare import prepare
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource
from anomem.training.optimisation import Clock

Scores = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class TrainingSet:
    """Holds what a contender trains on.

    Attributes:
        normals: Training normals.
        anomalies: Labelled anomalies, or None.
        shape: Of the images.
        classes: Class of each normal, (N,), for methods that are given it; None where not known.
        outliers: Images of another data set, for methods that are given some; None for none.
    """

    normals: ImageSet
    anomalies: ImageSet | None
    shape: ImageShape
    classes: npt.NDArray[np.int64] | None = None
    outliers: ImageSet | None = None

    @staticmethod
    def of(
        normals: ImageSource,
        anomalies: ImageSource | None,
        config: Config,
        *,
        classes: npt.NDArray[np.int64] | None = None,
        outliers: ImageSource | None = None,
    ) -> TrainingSet:
        """Bring images to the size that a method asks for."""
        shape = square_image_shape(config, normals)
        labelled, others = (
            None if images is None else prepare(images, shape) for images in (anomalies, outliers)
        )
        return TrainingSet(prepare(normals, shape), labelled, shape, classes, others)


class Contender(ABC):
    """Trains a method step by step, so that it can be scored between two steps.

    Args:
        config: Name of a preset, or every choice.
        device: As of :class:`~anomem.AnoMem`.
        seed: Of every random draw.

    Attributes:
        score_names: Names of its scores; the first is that of ``decision_function``.
        needs_anomalies: It cannot be trained on normals alone.
        uses_anomalies: It learns from labelled anomalies where there are some.
        given: What it is given that others are not, in words; labelled anomalies go without saying.
        shape_: Channels, height and width that images are brought to, once trained.
    """

    shape_: ImageShape
    score_names: tuple[str, ...]
    needs_anomalies: ClassVar[bool] = False
    uses_anomalies: ClassVar[bool] = False
    given: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, config: str | Config = "scratch", *, device: str = "auto", seed: int = 0
    ) -> None:
        self.config, self.device, self.seed = resolve(config), device, seed

    @abstractmethod
    def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:
        """Initialise and train, yielding the steps done after each step.

        Args:
            images: To train on.
            clock: Counts the seconds of training, and may end it.

        Raises:
            ValueError: The method cannot be trained without anomalies, classes or outliers that
                are not given.
        """

    @abstractmethod
    def finish(self) -> None:
        """Make ready to score from where the training stands."""

    @abstractmethod
    def scores(self, images: ImageSet) -> Scores:
        """Give the scores (N,) of all images of a set, by the name of each score."""

    @abstractmethod
    def features(self, images: ImageSet) -> Tensor:
        """Give features (N, C) of all images of a set, on the CPU, from the last map averaged."""

    def fit(
        self,
        X: object,
        *,
        anomalies: object = None,
        classes: npt.NDArray[np.int64] | None = None,
        outliers: object = None,
    ) -> Self:
        """Train on images X, all normal, and on what else is given (:class:`TrainingSet`)."""
        labelled, others = (
            None if images is None else open_images(images) for images in (anomalies, outliers)
        )
        images = TrainingSet.of(
            open_images(X), labelled, self.config, classes=classes, outliers=others
        )
        for _ in self.begin(images, Clock(self.config.stage1.max_seconds)):
            pass
        self.finish()
        return self

    def decision_function(self, X: object) -> npt.NDArray[np.float32]:
        """Give the anomaly score of each image, (N,) float32, higher is more anomalous."""
        return self.scores(prepare(open_images(X), self.shape_))[self.score_names[0]]
