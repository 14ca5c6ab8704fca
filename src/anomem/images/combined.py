"""Several sources as one, some images of a source, and the labels that go with images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.images.listing import protocol_of
from anomem.images.source import ArraySource, ImageSource, StoredSource


class JoinedSource(ImageSource):
    """The images of several sources, one source after the other."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        """Keep the sources; nothing is read yet."""
        self._sources = list(sources)
        self._starts = np.cumsum([0, *(len(source) for source in sources)])
        self.names = [name for source in sources for name in source.names]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Read one image."""
        source, place = self._place(index)
        return source[place]

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """As of its source."""
        source, place = self._place(index)
        return source.reduced(place, least)

    def _place(self, index: int) -> tuple[ImageSource, int]:
        place = range(len(self))[index]
        which = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._sources[which], place - int(self._starts[which])


class ChosenSource(ImageSource):
    """Some images of a source."""

    def __init__(self, source: ImageSource, indices: npt.NDArray[np.int64]) -> None:
        """Keep the source and the indices; nothing is read yet."""
        self._source, self._indices = source, indices
        self.names = [source.names[index] for index in indices]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Read one image."""
        return self._source[int(self._indices[index])]

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """As of the source."""
        return self._source.reduced(int(self._indices[index]), least)

    def encoded(self, index: int) -> bytes | None:
        """As of the source."""
        return self._source.encoded(int(self._indices[index]))


def choose(source: ImageSource, indices: npt.NDArray[np.int64]) -> ImageSource:
    """Some images of a source, in the order of their indices; those of an array are an array.

    Args:
        source: N images.
        indices: (M,), M at least 1.
    """
    if isinstance(source, ArraySource):
        return ArraySource(source.array[indices])
    return ChosenSource(source, indices)


def refuse_shared(
    one: ImageSource, other: ImageSource, kinds: tuple[str, str] = ("normals", "anomalies")
) -> None:
    """See that no stored image is of two kinds that exclude one another.

    Args:
        one: Images of the first kind.
        other: Of the second.
        kinds: What they are called.

    Raises:
        ValueError: One is.
    """
    if not (isinstance(one, StoredSource) and isinstance(other, StoredSource)):
        return
    places = {_place(name) for name in other.names}
    for name in one.names:
        if _place(name) in places:
            raise ValueError(
                f"{name} is among the {kinds[0]} and among the {kinds[1]}; keep the folders apart."
            )


def _place(name: str) -> str:
    """Where an image is stored, under one name however it is reached."""
    return os.path.realpath(name) if protocol_of(name) is None else name


def with_anomalies(
    source: ImageSource, label: npt.NDArray[np.int64], anomalies: ImageSource
) -> tuple[ImageSource, npt.NDArray[np.int64]]:
    """Images and their labels, with further images that are all anomalous.

    Raises:
        ValueError: A file is among both.
    """
    refuse_shared(source, anomalies)
    more = np.ones(len(anomalies), dtype=np.int64)
    return JoinedSource([source, anomalies]), np.concatenate([label, more])


def check_labels(
    y: npt.ArrayLike | None, count: int, allowed: tuple[int, ...] = (0, 1)
) -> npt.NDArray[np.int64]:
    """Labels of so many images, as integers.

    Args:
        y: 0 normal, 1 anomalous; None means all are normal.
        count: Number of images.
        allowed: The labels that may occur.

    Returns:
        (count,) int64.

    Raises:
        ValueError: Their number or a value is wrong.
    """
    if y is None:
        return np.zeros(count, dtype=np.int64)
    label = np.asarray(y)
    if label.shape != (count,):
        raise ValueError(f"y has shape {label.shape} for {count} images; give one label an image.")
    unknown = sorted({value for value in label.tolist() if value not in allowed}, key=str)
    if unknown:
        raise ValueError(
            f"y holds {unknown[0]!r}; labels are 0 for normal and 1 for anomalous"
            + (", -1 takes one back." if -1 in allowed else ".")
        )
    return label.astype(np.int64)
