"""How an image becomes frames of one shape, and where they lie in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt

from anomem.config import FramingKind
from anomem.images.errors import ImageError, named
from anomem.images.layers import Pixels
from anomem.images.region import Region, colour_inside, region_at
from anomem.images.resize import ImageShape, resampled, rounded
from anomem.images.source import ImageSource

_OVERLAP = 0.25
"""Least share of a tile that its neighbour sees too."""
_DETAIL = 2
"""Sides of a frame that an image decoded at a reduced size still has, so that resizing it blurs
away what little reduced decoding changes."""
_LARGE = 2**24
"""Pixels of a frame above which it is brought to its shape as it is cut."""


@dataclass(frozen=True)
class Box:
    """Bounds a rectangle of an image, in pixels; it may reach beyond the image.

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
    """Says how an image becomes frames of one shape.

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
        """Tell whether an image is one frame as it is."""
        return self.kind == "resize" and self.region is None

    @property
    def cuts(self) -> bool:
        """Tell whether an image may have several frames."""
        return self.kind == "tile"

    def at_a_time(self, frames: int) -> int:
        """Count the images in memory at a time for so many frames: four of those that are cut."""
        return 4 if self.cuts else frames


def frames_of(source: ImageSource, index: int, framing: Framing) -> Iterator[Pixels]:
    """Cut the frames of one image, which is read once.

    Yields:
        H x W x C, as cut from the image; a large one is of the height and width of a frame already.

    Raises:
        ImageError: The image cannot be read.
    """
    if framing.whole:
        least = _DETAIL * max(framing.shape.height, framing.shape.width)
        yield source.reduced(index, least) if framing.reduced else source[index]
        return
    pixels, shape = source[index], framing.shape
    size = pixels.shape[:2]
    inside = None if framing.region is None else region_at(framing.region, size)
    colour = None if inside is None else colour_inside(pixels, inside)

    def filled(part: Pixels, box: Box) -> Pixels:
        """What a box holds, with the mean colour wherever it lies outside of the region."""
        if inside is None or colour is None:
            return part
        return np.where(cut(inside, box)[..., None], part, colour)

    def rows(start: int, stop: int) -> Pixels:
        return filled(pixels[start:stop], Box(start, 0, stop - start, size[1]))

    for box in boxes(size, framing):
        corner, sides = (box.top, box.left), (box.height, box.width)
        if box.height * box.width > max(_LARGE, shape.height * shape.width):
            wanted = (shape.height, shape.width)
            small = resampled(rows, size, first=corner, length=sides, wanted=wanted)
            yield rounded(small, pixels.dtype)
        else:
            yield filled(cut(pixels, box), box)


def framed_mask(mask: npt.NDArray[np.bool_], framing: Framing) -> npt.NDArray[np.bool_]:
    """Bring a mask to the frames of its image.

    Args:
        mask: H x W, of the size of the image; what is marked outside of the region does not count.
        framing: Of the image.

    Returns:
        (F, H, W) bool, of the shape of frames: the pixels that something marked lies in.
    """
    size, shape = mask.shape, framing.shape
    if framing.region is not None:
        mask = mask & region_at(framing.region, size)
    frames = []
    for box in boxes(size, framing):
        marked = cut(mask, box)
        # Where pixels become several, each index is repeated, which gives the pixel itself.
        for axis, side in enumerate((shape.height, shape.width)):
            first = np.arange(side) * marked.shape[axis] // side
            marked = np.logical_or.reduceat(marked, first, axis=axis)
        frames.append(marked)
    return np.stack(frames)


class FrameSource(ImageSource):
    """Gives the frames of images one by one, for pages that show some of them.

    Of tiles all images are read at first, as their number depends on the size.
    """

    def __init__(self, source: ImageSource, framing: Framing) -> None:
        self._source, self._framing = source, framing
        self._lock = Lock()
        self._last: tuple[int, list[Pixels]] | None = None
        self._place = [(image, 0) for image in range(len(source))]
        self.names = source.names
        if framing.cuts:
            counts = [self._count(image) for image in range(len(source))]
            self._place = [(image, tile) for image, n in enumerate(counts) for tile in range(n)]
            self.names = [f"{source.names[i]} (tile {tile + 1})" for i, tile in self._place]

    def __getitem__(self, index: int) -> Pixels:
        image, number = self._place[index]
        if not self._framing.cuts:
            return next(frames_of(self._source, image, self._framing))
        with self._lock:
            return self._frames(image)[number]

    def _frames(self, image: int) -> list[Pixels]:
        """Those of one image, kept until another is asked for."""
        if self._last is None or self._last[0] != image:
            self._last = None  # or two images are held at once
            self._last = (image, list(frames_of(self._source, image, self._framing)))
        return self._last[1]

    def _count(self, image: int) -> int:
        """The frames of an image; one where it cannot be read, which tells why when asked for."""
        try:
            with named(self._source.names[image]):
                return len(self._frames(image))
        except ImageError:
            return 1


def boxes(size: Sequence[int], framing: Framing) -> list[Box]:
    """Lay out the frames of an image of a height and width.

    That is one box, or, for tiles, those that hold a part of the region, row by row.
    """
    around = around_region(framing.region, size)
    if framing.kind == "resize":
        return [around]
    shape = framing.shape
    if framing.kind == "letterbox":
        scale = max(around.height / shape.height, around.width / shape.width)
        height, width = math.ceil(scale * shape.height), math.ceil(scale * shape.width)
        top = around.top - (height - around.height) // 2
        left = around.left - (width - around.width) // 2
        return [Box(top, left, height, width)]
    tiles = [
        Box(top, left, shape.height, shape.width)
        for top in _starts(around.top, around.height, shape.height)
        for left in _starts(around.left, around.width, shape.width)
    ]
    if framing.region is None:
        return tiles
    inside = region_at(framing.region, size)
    return [tile for tile in tiles if inside[_within(tile, size)].any()]


def around_region(region: Region | None, size: Sequence[int]) -> Box:
    """Find the box around the region of an image of a height and width; all of it without one."""
    if region is None:
        return Box(0, 0, *size)
    inside = region_at(region, size)
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    return Box(int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)


def cut(pixels: Pixels, box: Box) -> Pixels:
    """Cut what a box holds out of an image H x W x C or a mask; beyond it its edge is repeated."""
    rows = np.clip(np.arange(box.top, box.top + box.height), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(box.left, box.left + box.width), 0, pixels.shape[1] - 1)
    found: Pixels = pixels[np.ix_(rows, columns)]
    return found


def assembled(
    maps: Iterable[tuple[Box, npt.NDArray[np.float32]]],
    size: Sequence[int],
    region: Region | None,
) -> npt.NDArray[np.float32]:
    """Join maps of frames to one map of the image: their mean where they overlap.

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
    starts = np.linspace(first, first + length - side, count).round().astype(int)
    return [int(start) for start in starts]


def _within(box: Box, size: Sequence[int]) -> tuple[slice, slice]:
    """The part of a box that lies within an image."""
    rows = slice(max(box.top, 0), min(box.top + box.height, size[0]))
    return rows, slice(max(box.left, 0), min(box.left + box.width, size[1]))
