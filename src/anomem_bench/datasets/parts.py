"""What a data set of the literature is: a part to train on and a part to test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomem.images.combined import choose
from anomem.images.local import FileSource
from anomem.images.source import ImageSource

NORMAL = ("good", "normal", "ok", "functional", "bona fide")
"""What sets call their normal class."""


@dataclass(frozen=True)
class Part:
    """Holds images with the class of each.

    Attributes:
        images: N images.
        label: (N,) int64, the class of each image, a position in ``classes``.
        classes: Names of all classes, whether or not this part has images of each. Where one of
            them is the normal one and all others are kinds of anomaly, it is the first.
        group: N names of the subject, part or video that each image is of, where known.
    """

    images: ImageSource
    label: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    group: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """The number of images N."""
        return len(self.label)

    def of(self, classes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Find the indices of the images of some classes, by their names."""
        return np.flatnonzero(np.isin(self.label, [self.classes.index(name) for name in classes]))

    def choose(self, indices: npt.NDArray[np.int64]) -> Part:
        """Choose some of the images, at least one, in the order of their indices."""
        group = None if self.group is None else tuple(self.group[index] for index in indices)
        return Part(choose(self.images, indices), self.label[indices], self.classes, group)


@dataclass(frozen=True)
class Parts:
    """Holds a data set.

    Attributes:
        train: To train on; None where there are test images alone.
        test: To test on.
    """

    train: Part | None
    test: Part


def part_of_files(files: Sequence[tuple[Path, str]], classes: Sequence[str]) -> Part:
    """Make a part of image files, each with the name of its class."""
    indices = {name: index for index, name in enumerate(classes)}
    label = np.array([indices[name] for _, name in files], np.int64)
    return Part(FileSource([file for file, _ in files]), label, tuple(classes))


def first(names: Sequence[str]) -> tuple[str, ...]:
    """Sort names alphabetically, that of the normal class before all others."""
    return tuple(sorted(set(names), key=lambda name: (name not in NORMAL, name)))
