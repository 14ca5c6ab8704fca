"""The memory that decoding may take, shared by all threads of the process."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageFile

from anomem.images.errors import ImageError

if TYPE_CHECKING:  # the command line asks for the default alone
    import tifffile

GIGABYTE = 10**9
DEFAULT = 0.9
"""Gigabytes, so that with what comes before and after decoding a file takes no more than one."""


class Budget:
    """Counts the bytes that decoding may take, of all threads together.

    A thread that holds none waits until what it asks for is free. One that holds some does not, as
    two that waited for one another would wait for ever.

    Attributes:
        limit: Bytes in all. An image that takes more alone is refused.
        pixels: Of an image; one that has more is refused. None is any number.
    """

    def __init__(self, limit: int, pixels: int | None = None) -> None:
        self.limit, self.pixels = limit, pixels
        self._taken = 0
        self._changed = Condition()
        self._own = local()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Give back at the end what this thread takes inside; of nested ones, the outermost."""
        if getattr(self._own, "taken", None) is not None:
            yield
            return
        self._own.taken = 0
        try:
            yield
        finally:
            with self._changed:
                self._taken -= self._own.taken
                self._own.taken = None
                self._changed.notify_all()

    def take(self, count: int, name: str) -> None:
        """Take bytes for an image, within :meth:`held`.

        Raises:
            ImageError: It needs more than there are in all.
        """
        if count > self.limit:
            raise ImageError(
                name,
                f"decoding it takes {count / GIGABYTE:.2g} GB of memory and the limit is "
                f"{self.limit / GIGABYTE:.2g} GB",
                "crop it, or give more by --decode-memory",
            )
        with self._changed:
            while not self._own.taken and self._taken and self._taken + count > self.limit:
                self._changed.wait()
            self._taken += count
            self._own.taken += count


BUDGET = Budget(int(DEFAULT * GIGABYTE))
"""Of this process."""


@contextmanager
def allow(gigabytes: float) -> Iterator[None]:
    """Let decoding take so many gigabytes inside, in all threads of this process together.

    At the end the limits of the process are as they were, of memory and of pixels.

    Raises:
        ValueError: It is not above 0.
    """
    if not gigabytes > 0:
        raise ValueError(f"{gigabytes:g} GB is no memory to decode in; give more than 0.")
    before = BUDGET.limit, BUDGET.pixels
    BUDGET.limit = int(gigabytes * GIGABYTE)
    try:
        yield
    finally:
        BUDGET.limit, BUDGET.pixels = before


SIDE = 2**20
"""Pixels of the longest side."""
PROPORTION = 1000
"""Of the longer side to the shorter one."""
VIEWED = 2**24
"""Pixels above which an RGB image is not copied out of Pillow but looked at in its memory."""

_IN_PILLOW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's memory, by mode; all others have 4."""

# Beside that memory, in bytes a pixel, measured as the highest resident memory of a process that
# decodes 16 megapixels: WEBP 12.3 (two canvases and the bytes of one), AVIF up to 8 with 8 bits
# and twice that with 12, JPEG 2000 5.2 a channel, JPEG in several scans 2 a channel (its
# coefficients), others less than 0.5.
_BESIDE = {"WEBP": 12.5, "AVIF": 17.0}
_JPEG2000_CHANNEL = 5.5
_SCANS_CHANNEL = 2.1
_READ_WHOLE = ("WEBP", "AVIF")
"""Formats whose file Pillow holds in memory, and copies once."""


def size_problem(width: int, height: int) -> str | None:
    """Say what is wrong with the size of an image, or None."""
    longer, shorter = max(width, height), max(min(width, height), 1)
    if longer > SIDE:
        return f"{width} x {height} pixels have a side longer than {SIDE}"
    if BUDGET.pixels is not None and width * height > BUDGET.pixels:
        return f"{width} x {height} pixels are more than the {BUDGET.pixels:,} allowed here"
    if longer > PROPORTION * shorter:
        return f"{width} x {height} pixels are more than {PROPORTION} times as long as wide"
    return None


def file_cost(file: BinaryIO, kind: str) -> int:
    """Count the bytes that opening a file takes, before its header is known."""
    return 2 * _length(file) if kind in _READ_WHOLE else 0


def image_cost(image: ImageFile.ImageFile, file: BinaryIO, tiff: tifffile.TiffPage | None) -> int:
    """Count the bytes that it takes to decode an opened image and to bring it into an array.

    It is neither loaded nor set to a reduced size yet; ``tiff`` is the first page of a TIFF file.
    """
    area, channels = image.width * image.height, len(image.getbands())
    beside = _BESIDE.get(image.format or "", 0.5)
    if image.format == "JPEG2000":
        beside = _JPEG2000_CHANNEL * channels
    if image.format in ("JPEG", "MPO") and _has_scans(file):
        beside = _SCANS_CHANNEL * channels
    cost = area * (_IN_PILLOW.get(image.mode, 4) + beside + _copied(image))
    if image.format == "TIFF":
        # libtiff holds a strip or a tile, and its view of the file counts as resident.
        strip = area * channels if tiff is None else _segment(tiff)
        cost += strip + min(_length(file), area * channels)
    return int(cost) + file_cost(file, image.format or "")


def deep_cost(page: tifffile.TiffPage) -> int:
    """Count the bytes that it takes to read a page of 16-bit colour."""
    return page.imagewidth * page.imagelength * page.samplesperpixel * 2 + 2 * _segment(page)


def deep_png_cost(width: int, height: int, channels: int) -> int:
    """Count the bytes that it takes to read a PNG of 16 bits: what Pillow holds, and the array."""
    return width * height * (4 + 2 * channels)


def viewed(image: Image.Image) -> bool:
    """Tell whether an image is looked at in Pillow's memory."""
    large = image.width * image.height > VIEWED
    return image.mode == "RGB" and large and not image.has_transparency_data


def _copied(image: Image.Image) -> int:
    """Bytes of a pixel in the arrays of colour and transparency."""
    if viewed(image):
        return 0
    grey = image.mode in ("1", "L", "LA", "La")
    deep = image.mode.startswith("I;16")
    return (2 if deep else 1 if grey else 3) + int(image.has_transparency_data)


def _segment(page: tifffile.TiffPage) -> int:
    """Bytes of a strip or tile of a page as decoded."""
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    return int(rows * columns * samples * bits) // 8


def _has_scans(file: BinaryIO) -> bool:
    """Whether a JPEG file comes in several scans, so that all its coefficients are held."""
    file.seek(2)
    channels = 0
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if marker in (0xC2, 0xC6, 0xCA, 0xCE):  # progressive
            return True
        if marker == 0xDA:
            return file.read(1)[:1] != bytes([channels])
        body = file.read(max(length - 2, 0))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) > 5:
            channels = body[5]
    return True


def _length(file: BinaryIO) -> int:
    if isinstance(file, io.BytesIO):
        return file.getbuffer().nbytes
    return os.fstat(file.fileno()).st_size
