"""Images of any size to frames of one shape, and maps of the frames back to the image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.config import FramingKind
from anomem.images.arrays import ArraySource
from anomem.images.errors import ImageError, named
from anomem.images.region import Region, colour_inside, region_at
from anomem.images.resize import ImageShape, resampled, rounded
from anomem.images.source import ImageSource

_OVERLAP = 0.25
"""Least share of a tile that its neighbour sees too."""
_DETAIL = 2
"""Sides of a frame that an image decoded at a reduced size still has, so that resizing it blurs
away what little reduced decoding changes."""
_READ_BEFORE = 4
"""Images kept after they were read, as their frames are asked for one after the other."""
_KEPT = 2**28
"""Bytes of those, the last one excepted."""
_LARGE = 2**24
"""Pixels of a frame above which it is brought to its shape as it is cut."""

Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Box:
    """A rectangle of an image, in pixels; it may reach beyond the image.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Framing:
    """How an image becomes frames of one shape.

    Attributes:
        kind: "resize" stretches the image to a frame; "letterbox" keeps its proportions, and
            repeats its edge where they are not those of the frame; "tile" cuts frames at full
            detail, each sharing at least a quarter with the next.
        shape: Of a frame.
        region: Where anomalies count; None is everywhere. All else is filled with the mean colour
            of the region, and frames lie around the region.
        reduced: JPEG files of whole images much larger than a frame are decoded at a reduced size.
    """

    kind: FramingKind
    shape: ImageShape
    region: Region | None = None
    reduced: bool = True

    @property
    def whole(self) -> bool:
        """An image is one frame as it is."""
        return self.kind == "resize" and self.region is None

    @property
    def cuts(self) -> bool:
        """An image may have several frames."""
        return self.kind == "tile"

    def at_a_time(self, frames: int) -> int:
        """Images in memory at a time where so many frames are: four of those that are cut."""
        return 4 if self.cuts else frames


@dataclass(frozen=True)
class Framed:
    """The frames of N images, one image after the other.

    Attributes:
        frames: F of them.
        image: (F,) int64, index of the image of each.
    """

    frames: ImageSource
    image: npt.NDArray[np.int64]


def frame(source: ImageSource, framing: Framing) -> Framed:
    """The frames of all images; where an image is one frame as it is, that of the source."""
    if framing.whole:
        whole = source
        if framing.reduced and not isinstance(source, ArraySource):
            whole = ReducedSource(source, _DETAIL * max(framing.shape.height, framing.shape.width))
        return Framed(whole, np.arange(len(source)))
    frames = FramedSource(source, framing)
    return Framed(frames, frames.image)


class ReducedSource(ImageSource):
    """Images, read at a reduced size of at least so many pixels a side where their files allow."""

    def __init__(self, source: ImageSource, least: int) -> None:
        """Keep the source; nothing is read yet."""
        self._source, self._least = source, least
        self.names = source.names

    def __getitem__(self, index: int) -> Pixels:
        """Read one image."""
        return self._source.reduced(index, self._least)

    def encoded(self, index: int) -> bytes | None:
        """As of the source."""
        return self._source.encoded(index)


class FramedSource(ImageSource):
    """The frames of images, before they are brought to their shape.

    Attributes:
        image: (F,) int64, index of the image of each frame.
    """

    def __init__(self, source: ImageSource, framing: Framing) -> None:
        """Count the frames; for tiles all images are read, as their number depends on the size."""
        self._source, self._framing = source, framing
        self._lock = Lock()
        self._kept: dict[int, _Read | ImageError] = {}
        counts = [self._count(index) if framing.cuts else 1 for index in range(len(source))]
        self.image = np.repeat(np.arange(len(source)), counts)
        self._number = np.concatenate([np.arange(count) for count in counts])
        self.names = [self._name(index) for index in range(len(self.image))]

    def __getitem__(self, index: int) -> Pixels:
        """One frame, H x W x C of its image; of its shape already where it would be large."""
        with self._lock:  # or two threads read one image twice
            read = self._read(int(self.image[index]))
        if isinstance(read, ImageError):
            raise ImageError(*read.args)
        box = read.boxes[int(self._number[index])]
        shape = self._framing.shape
        if box.height * box.width > max(_LARGE, shape.height * shape.width):
            return _reduced(read, box, shape)
        return read.filled(cut(read.pixels, box), box)

    def _read(self, image: int) -> _Read | ImageError:
        """An image, or why there is none, each read once while it is kept."""
        if image not in self._kept:
            self._make_room()
            try:
                with named(self._source.names[image]):
                    found: _Read | ImageError = _Read.of(self._source[image], self._framing)
            except ImageError as error:
                found = ImageError(*error.args)  # a fresh one: the traceback holds on to the pixels
            self._kept[image] = found
            while len(self._kept) > 1 and self._keeps_much():
                del self._kept[next(iter(self._kept))]
        return self._kept[image]

    def _make_room(self) -> None:
        """Let go of what is large, or will not be asked for again, before another is decoded."""
        if not self._framing.cuts or sum(map(_size, self._kept.values())) > _KEPT:
            self._kept.clear()

    def _keeps_much(self) -> bool:
        return len(self._kept) > _READ_BEFORE or sum(map(_size, self._kept.values())) > _KEPT

    def _count(self, image: int) -> int:
        read = self._read(image)  # what is wrong is told when the frame is asked for
        return 1 if isinstance(read, ImageError) else len(read.boxes)

    def _name(self, index: int) -> str:
        name = self._source.names[self.image[index]]
        return f"{name} (tile {self._number[index] + 1})" if self._framing.cuts else name


@dataclass(frozen=True)
class _Read:
    """An image that was read, and where its frames lie.

    Attributes:
        pixels: H x W x C.
        boxes: Of the frames.
        inside: H x W, where anomalies count; None where they do everywhere.
        colour: The mean colour there, (C,).
    """

    pixels: Pixels
    boxes: list[Box]
    inside: Region | None = None
    colour: Pixels | None = None

    @staticmethod
    def of(pixels: Pixels, framing: Framing) -> _Read:
        size = pixels.shape[:2]
        found = boxes(size, framing)
        if framing.region is None:
            return _Read(pixels, found)
        inside = region_at(framing.region, size)
        return _Read(pixels, found, inside, colour_inside(pixels, inside))

    def filled(self, part: Pixels, box: Box) -> Pixels:
        """What a box holds, with the mean colour wherever it lies outside of the region."""
        if self.inside is None or self.colour is None:
            return part
        return np.where(cut(self.inside, box)[..., None], part, self.colour)

    def rows(self, start: int, stop: int) -> Pixels:
        """Some rows, filled outside of the region."""
        return self.filled(self.pixels[start:stop], Box(start, 0, stop - start, self.width))

    @property
    def width(self) -> int:
        return self.pixels.shape[1]


def _size(read: _Read | ImageError) -> int:
    if isinstance(read, ImageError):
        return 0
    return read.pixels.nbytes + (0 if read.inside is None else read.inside.nbytes)


def _reduced(read: _Read, box: Box, shape: ImageShape) -> Pixels:
    """What a box holds, brought to the size of a frame."""
    pixels = resampled(
        read.rows,
        read.pixels.shape[:2],
        first=(box.top, box.left),
        length=(box.height, box.width),
        wanted=(shape.height, shape.width),
    )
    return rounded(pixels, read.pixels.dtype)


def boxes(size: Sequence[int], framing: Framing) -> list[Box]:
    """Where the frames of an image lie.

    Args:
        size: Height and width of the image.
        framing: How it is framed.

    Returns:
        One box, or, for tiles, those that hold a part of the region, row by row.
    """
    inside = None if framing.region is None else region_at(framing.region, size)
    around = around_region(framing.region, size)
    if framing.kind == "resize":
        return [around]
    shape = framing.shape
    if framing.kind == "letterbox":
        scale = max(around.height / shape.height, around.width / shape.width)
        wanted = (math.ceil(scale * shape.height), math.ceil(scale * shape.width))
        return [Box(around.top - (wanted[0] - around.height) // 2,
                    around.left - (wanted[1] - around.width) // 2, *wanted)]  # fmt: skip
    tiles = [
        Box(top, left, shape.height, shape.width)
        for top in _starts(around.top, around.height, shape.height)
        for left in _starts(around.left, around.width, shape.width)
    ]
    return tiles if inside is None else [tile for tile in tiles if _clipped(inside, tile).any()]


def around_region(region: Region | None, size: Sequence[int]) -> Box:
    """The box around the region of an image of a height and width; all of it without a region."""
    if region is None:
        return Box(0, 0, *size)
    inside = region_at(region, size)
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    return Box(int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)


def cut(pixels: Pixels, box: Box) -> Pixels:
    """What a box holds of an image H x W x C; beyond the image its edge is repeated."""
    rows = np.clip(np.arange(box.top, box.top + box.height), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(box.left, box.left + box.width), 0, pixels.shape[1] - 1)
    found: Pixels = pixels[np.ix_(rows, columns)]
    return found


def assembled(
    maps: Iterable[tuple[Box, npt.NDArray[np.float32]]],
    size: Sequence[int],
    region: Region | None,
) -> npt.NDArray[np.float32]:
    """Maps of frames as one map of the image: their mean where they overlap.

    Args:
        maps: Each with its box, and as large as it.
        size: Height and width of the image.
        region: Outside of it, and where no frame lies, the map is 0.
    """
    total, count = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.float32)
    for box, values in maps:
        rows, columns = _within(box, size)
        seen = values[rows.start - box.top :, columns.start - box.left :]
        total[rows, columns] += seen[: rows.stop - rows.start, : columns.stop - columns.start]
        count[rows, columns] += 1
    mean: npt.NDArray[np.float32] = np.divide(total, np.maximum(count, 1), dtype=np.float32)
    return mean if region is None else mean * region_at(region, size)


def _starts(first: int, length: int, side: int) -> list[int]:
    """Where tiles of a side begin, so that they cover a length evenly; one is in its middle."""
    if length <= side:
        return [first - (side - length) // 2]
    count = math.ceil((length - side) / (side * (1 - _OVERLAP))) + 1
    starts: list[int] = (
        np.linspace(first, first + length - side, count).round().astype(int).tolist()
    )
    return starts


def _clipped(values: Pixels, box: Box) -> Pixels:
    return values[_within(box, values.shape)]


def _within(box: Box, size: Sequence[int]) -> tuple[slice, slice]:
    """The part of a box that lies within an image."""
    rows = slice(max(box.top, 0), min(box.top + box.height, size[0]))
    return rows, slice(max(box.left, 0), min(box.left + box.width, size[1]))
