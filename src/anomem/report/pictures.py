"""Pixels as pictures of a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[Any]


def picture(pixels: Pixels) -> Image.Image:
    """Pixels of 8 or 16 bits, H x W, H x W x 1 or H x W x 3, as a picture of 8."""
    eight = pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)
    return Image.fromarray(eight[..., 0] if eight.ndim == 3 and eight.shape[2] == 1 else eight)


def in_colours(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Pixels as :func:`picture` takes them, H x W x 3 uint8."""
    return np.asarray(picture(pixels).convert("RGB"))


def coloured_pixels(pixels: Pixels, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Pixels as :func:`picture` takes them at another size (width, height), H x W x 3 uint8."""
    return np.asarray(picture(pixels).convert("RGB").resize(size))


def fitted_into(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height with the same proportions and no side longer than asked."""
    share = min(side / max(size), 1.0)
    return max(round(size[0] * share), 1), max(round(size[1] * share), 1)


def jpeg(pixels: Pixels) -> bytes:
    """Pixels as :func:`picture` takes them, as the content of a JPEG file."""
    file = io.BytesIO()
    picture(pixels).save(file, format="JPEG", quality=85)
    return file.getvalue()


def data_uri(pixels: Pixels) -> str:
    """A picture within a page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels)).decode()
