"""Training sets with what is tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anomem.images.source import ImageSource
from anomem_bench.results import AnomalyClasses


@dataclass(frozen=True)
class Caps:
    """Bounds the number of images, so that a protocol also runs in minutes; None for all.

    Attributes:
        normals: To train on.
        tested: Of each kind, to measure on; the same in every cell.
    """

    normals: int | None = None
    tested: int | None = None

    def title(self, data: str) -> str:
        """Name the data set, and how few of its images are taken."""
        most = f", at most {self.normals} normals" if self.normals else ""
        tested = f", at most {self.tested} tested of each kind" if self.tested else ""
        return data + most + tested

    def some(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Choose at most so many of the indices of test images of a kind, sorted."""
        return np.sort(np.random.default_rng(0).permutation(indices)[: self.tested])


@dataclass(frozen=True)
class Cell:
    """Describes one training set.

    Attributes:
        normal: Name of the normal class, "all" where all classes are.
        gamma: Share of anomalies in it.
        anomaly_classes: Where these come from.
        draw: Number of the random draw; also the seed of the training.
        unseen: Kind of anomaly that is left out of it and tested against; "" for none.
        labels: Number of labelled anomalies in it, where these are counted; their share is gamma.
        labelled: The one kind that these are of; "" for any.
    """

    normal: str
    gamma: float
    anomaly_classes: AnomalyClasses
    draw: int
    unseen: str = ""
    labels: int = 0
    labelled: str = ""


@dataclass(frozen=True)
class Split:
    """Holds the images of a cell.

    Attributes:
        normals: To train on.
        anomalies: Labelled anomalies to train on; None for none. Their share is gamma.
        test_normals: To measure on.
        test_anomalies: The same, by what they are; "" for all other classes.
        development: Normals that give a threshold, neither trained nor measured on.
        labels: Classes of the training and the test images, for protocols that need them.
        classes: Class of each training normal, for methods that are given it.
        outliers: Images of another data set that is not tested, for methods that are given some.
    """

    normals: ImageSource
    anomalies: ImageSource | None
    test_normals: ImageSource
    test_anomalies: Mapping[str, ImageSource] = field(default_factory=dict)
    development: ImageSource | None = None
    labels: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
    classes: npt.NDArray[np.int64] | None = None
    outliers: ImageSource | None = None


def anomaly_count(gamma: float, normals: int) -> int:
    """Count the anomalies whose share beside so many normals is gamma, to the nearest image.

    Raises:
        ValueError: Gamma is above 0, and that is none.
    """
    count = round(gamma / (1 - gamma) * normals)
    if gamma > 0 and count == 0:
        raise ValueError(
            f"gamma {gamma:g} beside {normals} normals is less than one anomaly; raise it."
        )
    return count
