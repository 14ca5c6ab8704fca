"""Stored images that are fetched a block of neighbours at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy.typing as npt

from anomem.images.decode import decode_bytes
from anomem.images.opening import ImageError
from anomem.images.source import StoredSource

BLOCK = 16
"""Images fetched at a time: enough to hide that each fetch waits, few enough to be kept."""


class BlockSource(StoredSource):
    """Encoded images, the last four blocks kept: threads that read in order fetch each once."""

    def __init__(self) -> None:
        """Keep no block yet."""
        self._lock = Lock()
        self._kept: deque[tuple[object, Sequence[bytes | ImageError]]] = deque(maxlen=4)

    @abstractmethod
    def _place(self, index: int) -> tuple[Any, int]:
        """The key of the block of one image, and its position there; IndexError beyond the last."""

    @abstractmethod
    def _fetch(self, key: Any) -> Sequence[bytes | ImageError]:
        """A block; called by one thread at a time."""

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Decode one image."""
        return decode_bytes(self.encoded(index), self.names[index])

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """Decode one image, a JPEG at a reduced size."""
        return decode_bytes(self.encoded(index), self.names[index], least)

    def encoded(self, index: int) -> bytes:
        """What the file of one image would hold.

        Raises:
            ImageError: There is no such image.
            OSError: The block cannot be fetched, which says nothing of the image.
        """
        key, position = self._place(index)
        content = self._block(key)[position]
        if isinstance(content, ImageError):
            raise ImageError(*content.args)  # a fresh one, as a raised one holds on to its frames
        return content

    def _block(self, key: object) -> Sequence[bytes | ImageError]:
        with self._lock:
            for known, block in self._kept:
                if known == key:
                    return block
            block = self._fetch(key)
            self._kept.append((key, block))
            return block
