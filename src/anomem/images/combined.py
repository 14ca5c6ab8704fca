"""Several sources as one, some images of a source, and the labels that go with images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.images.arrays import ArraySource
from anomem.images.source import ImageSource


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
