"""Several sources as one, and some images of a source."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.images.arrays import ArraySource
from anomem.images.source import ImageSource


class _Combined(ImageSource):
    """Reads images of other sources as they are there."""

    @abstractmethod
    def _locate(self, index: int) -> tuple[ImageSource, int]:
        """The source of an image, and its index there."""

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        source, position = self._locate(index)
        return source[position]

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        source, position = self._locate(index)
        return source.reduced(position, least)

    def encoded(self, index: int) -> bytes | None:
        source, position = self._locate(index)
        return source.encoded(position)


class JoinedSource(_Combined):
    """Joins the images of several sources, one source after the other."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = list(sources)
        self._starts = np.cumsum([0, *(len(source) for source in sources)])
        self.names = [name for source in sources for name in source.names]

    def _locate(self, index: int) -> tuple[ImageSource, int]:
        position = range(len(self))[index]
        which = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self._sources[which], position - int(self._starts[which])


class ChosenSource(_Combined):
    """Chooses some images of a source, by their indices."""

    def __init__(self, source: ImageSource, indices: npt.NDArray[np.int64]) -> None:
        self._source, self._indices = source, indices
        self.names = [source.names[index] for index in indices]

    def _locate(self, index: int) -> tuple[ImageSource, int]:
        return self._source, int(self._indices[index])


def choose(source: ImageSource, indices: npt.NDArray[np.int64]) -> ImageSource:
    """Choose some images of a source, in the order of their indices; from an array, as an array.

    Args:
        source: N images.
        indices: (M,), M at least 1.
    """
    if isinstance(source, ArraySource):
        return ArraySource(source.array[indices])
    return ChosenSource(source, indices)
