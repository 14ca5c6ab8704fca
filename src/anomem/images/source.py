"""Images by number, whatever they are read from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from anomem.images.decode import decode_bytes


class ImageSource(ABC):
    """Gives images by number, each read when it is asked for.

    Attributes:
        names: N names, the path of each image or "image 3".
    """

    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Read one image; safe to call from several threads.

        Returns:
            H x W x 1 or H x W x 3, uint8 or uint16.

        Raises:
            ImageError: The image cannot be read.
            IndexError: There is no such image.
        """

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:  # noqa: ARG002 - of files
        """Read one image, reduced to at least ``least`` pixels a side if its file allows."""
        return self[index]

    def encoded(self, index: int) -> bytes | None:  # noqa: ARG002 - of files
        """Give one image as its file holds it; None where there is no file."""
        return None


class EncodedSource(ImageSource):
    """Has each image as its file holds it, and decodes it from there."""

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """Give one image as its file holds it; nothing where it is missing."""

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        return decode_bytes(self.encoded(index), self.names[index])

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """Decode one image, a JPEG at a reduced size."""
        return decode_bytes(self.encoded(index), self.names[index], least)


class BytesSource(EncodedSource):
    """Holds encoded images in memory, such as the cells of a table; None is one that is missing."""

    def __init__(self, contents: Sequence[bytes | None], names: Sequence[str]) -> None:
        self._contents = list(contents)
        self.names = list(names)

    def encoded(self, index: int) -> bytes:
        """Give what the file of one image would hold."""
        return self._contents[index] or b""


class SizedSource(ImageSource):
    """Keeps the sizes of the images of a source as they are read whole."""

    def __init__(self, source: ImageSource) -> None:
        self._source, self.names = source, source.names
        self._sizes: dict[int, tuple[int, int]] = {}

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        pixels = self._source[index]
        self._sizes[index] = (pixels.shape[0], pixels.shape[1])
        return pixels

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """Read one image as its source reduces it."""
        return self._source.reduced(index, least)

    def encoded(self, index: int) -> bytes | None:
        """Give one image as its file holds it; None where there is no file."""
        return self._source.encoded(index)

    def size(self, index: int) -> tuple[int, int]:
        """Give height and width of an image, which is read where it was not."""
        if index not in self._sizes:
            self[index]
        return self._sizes[index]


class StoredSource(ImageSource):
    """Reads images in files, here or on object storage; another process can read a part."""

    @abstractmethod
    def part(self, start: int, stop: int) -> ImageSource:
        """Take the images from start up to stop, names kept; pickles as what they need."""

    @abstractmethod
    def versions(self) -> list[str]:
        """Give what changes with the file of each image, as size and time; "" where unknown."""

    def runs(self, size: int) -> list[range]:
        """Cut all indices, in order, into ranges of at most ``size`` best read together."""
        count = len(self)
        return [range(start, min(start + size, count)) for start in range(0, count, size)]
