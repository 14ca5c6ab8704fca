"""Pixels as pictures of a page."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomem.images.layers import Pixels

Colours = npt.NDArray[np.uint8]
SOFTWARE = "AnoMem"
"""What a picture of ours says of itself, as the PNG text ``Software``."""


def picture(pixels: Pixels) -> Image.Image:
    """Bring pixels of 8 or 16 bits, H x W, H x W x 1 or H x W x 3, to a picture of 8."""
    eight = pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)
    return Image.fromarray(eight[..., 0] if eight.ndim == 3 and eight.shape[2] == 1 else eight)


def in_colours(pixels: Pixels, size: tuple[int, int] | None = None) -> Colours:
    """Bring pixels as of :func:`picture` to H x W x 3 uint8, and to another size if one is given.

    >>> in_colours(np.zeros((4, 6), np.uint8), (3, 2)).shape
    (2, 3, 3)
    """
    coloured = picture(pixels).convert("RGB")
    return np.asarray(coloured if size is None else coloured.resize(size))


def within(pixels: Pixels, side: int) -> Colours:
    """Do the same with proportions kept and no side longer than asked, H x W x 3 uint8.

    >>> within(np.zeros((400, 600), np.uint8), 300).shape
    (200, 300, 3)
    """
    height, width = pixels.shape[:2]
    share = min(side / max(height, width), 1.0)
    return in_colours(pixels, (max(round(width * share), 1), max(round(height * share), 1)))


def jpeg(pixels: Pixels) -> bytes:
    """Encode pixels as :func:`picture` takes them, as the content of a JPEG file."""
    file = io.BytesIO()
    picture(pixels).save(file, format="JPEG", quality=85)
    return file.getvalue()


def data_uri(pixels: Pixels) -> str:
    """Write a picture within a page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels)).decode()
