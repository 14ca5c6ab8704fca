"""The colour and the transparency of an image, and the two as one picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomem.images.decode_memory import viewed
from anomem.images.errors import ImageError

Pixels = npt.NDArray[Any]
"""Of an image: H x W x C, uint8 or uint16."""

GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_MULTIPLIED = ("RGBa", "La")
"""Modes whose colours are multiplied by the alpha."""
DEPTHS = "convert it to 8 or 16 bits (uint8 or uint16)"
_STRIP = 2**20
"""Pixels that are converted at a time."""
_VISIBLE = 16
"""Share of full opacity, as a divisor, that no pixel of a picture without transparency reaches."""


@dataclass(frozen=True)
class Layers:
    """Holds an image before transparency is composited.

    Attributes:
        colour: H x W x 1 (grey) or H x W x 3 (RGB), uint8 or uint16.
        alpha: H x W of the same type, 0 where nothing is seen; None where all is.
        ground: First colour of the palette; None where there is none.
        lossy: Whether its pixels may differ a little from what was saved.
    """

    colour: Pixels
    alpha: Pixels | None = None
    ground: tuple[int, ...] | None = None
    lossy: bool = False

    @property
    def transparency(self) -> Pixels | None:
        """Give the alpha, where it says what is seen: not the same everywhere, nor next to 0."""
        if self.alpha is None:
            return None
        low, high = self.alpha.min(), self.alpha.max()
        return None if low == high or high <= _range(self.alpha) // _VISIBLE else self.alpha

    def turned(self, orientation: int) -> Layers:
        """Turn the image upright, by one of the eight EXIF orientations."""
        alpha = None if self.alpha is None else _turn(self.alpha, orientation)
        return replace(self, colour=_turn(self.colour, orientation), alpha=alpha)

    def on(self, ground: int) -> Pixels:
        """Lay the picture on a ground of 0 (black) or 1 (white), H x W x C; overwrites the colour.

        Where the alpha hides everything, as of files whose fourth channel was never meant as one,
        the colour is the picture.
        """
        alpha = self.transparency
        if alpha is None:
            return self.colour
        white = np.uint32(_range(alpha))
        for rows in strips(*alpha.shape):
            seen = alpha[rows, :, None].astype(np.uint32)
            # At 16 bits the sum stays just under 2 ** 32.
            mixed = self.colour[rows] * seen + ground * white * (white - seen) + white // 2
            self.colour[rows] = mixed // white
        return self.colour


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of an image, some at a time."""
    rows = max(_STRIP // max(width, 1), 1)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def layers_of(image: Image.Image, name: str) -> Layers:
    """Take the layers of a loaded Pillow image of any mode, as its pixels lie in it.

    Raises:
        ImageError: The pixels are 32-bit numbers.
    """
    mode = image.mode
    # Pillow opens a PGM of 16 bits as 32-bit integers, scaled to 0 ... 65535.
    if mode in GREY_16 or (mode == "I" and image.format == "PPM"):
        deep = np.empty((image.height, image.width, 1), np.uint16)
        for rows in strips(image.height, image.width):
            deep[rows, :, 0] = np.asarray(_rows(image, rows))
        return Layers(deep)
    if mode in ("I", "F"):
        reason = f"the pixels are 32-bit {'integers' if mode == 'I' else 'floats'}"
        raise ImageError(name, reason, DEPTHS)
    if viewed(image) and (pixels := _view(image)) is not None:
        return Layers(pixels)
    colour, alpha = _converted(image)
    return Layers(colour, alpha, _first_colour(image))


def orientation_of(image: Image.Image) -> int:
    """Read the EXIF orientation of a loaded image, 1 where it has none."""
    # Damaged EXIF data does not make the picture unreadable.
    with suppress(Exception):
        return int(image.getexif().get(0x0112, 1))
    return 1


def _converted(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Colour H x W x C and alpha H x W, of 8 bits; converted in strips, as what is large."""
    grey, clear = image.mode in ("1", "L", "LA", "La"), image.has_transparency_data
    channels = 1 if grey else 3
    wanted = ("L" if grey else "RGB") + ("A" if clear else "")
    if image.mode in _MULTIPLIED and _hides_all(image):  # dividing by it leaves nothing
        wanted = image.mode
    if not clear and image.width * image.height <= _STRIP:
        return np.array(image.convert(wanted)).reshape(image.height, image.width, channels), None
    colour = np.empty((image.height, image.width, channels), np.uint8)
    alpha = np.empty(colour.shape[:2], np.uint8) if clear else None
    for rows in strips(image.height, image.width):
        part = _rows(image, rows)
        part = part if part.mode == wanted else part.convert(wanted)
        pixels = np.asarray(part).reshape(-1, image.width, len(wanted))
        colour[rows] = pixels[..., :channels]
        if alpha is not None:
            alpha[rows] = pixels[..., -1]
    return colour, alpha


def _hides_all(image: Image.Image) -> bool:
    return int(np.asarray(image.getchannel("a")).max()) <= 255 // _VISIBLE


def _rows(image: Image.Image, rows: slice) -> Image.Image:
    if rows == slice(0, image.height):
        return image
    return image.crop((0, rows.start, image.width, rows.stop))


def _view(image: Image.Image) -> Pixels | None:
    """The memory of an RGB image as H x W x 3, not to be written to; None if it lies in pieces."""
    try:
        import pyarrow as pa  # heavy, and where only a folder is described nobody decodes

        memory = pa.array(image).values.to_numpy(zero_copy_only=True)
    except ValueError:
        return None
    return memory.reshape(image.height, image.width, 4)[..., :3]


def _first_colour(image: Image.Image) -> tuple[int, ...] | None:
    if image.mode != "P" or not (palette := image.getpalette("RGB")):
        return None
    return tuple(palette[:3])


def _range(values: Pixels) -> int:
    return int(np.iinfo(values.dtype).max)


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply one of the eight EXIF orientations to H x W or H x W x C."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    # What is looked at in Pillow's memory stays there.
    return (
        pixels if orientation == 1 or not pixels.flags.writeable else np.ascontiguousarray(pixels)
    )
