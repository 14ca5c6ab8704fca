"""Images of any size to images of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)  # ITU-R 601
_STRIP = 2**22
"""Values that are resampled at a time, as floats take much memory."""

Floats = npt.NDArray[np.float32]
Rows = Callable[[int, int], npt.NDArray[Any]]
"""The rows of an image from one up to another, h x W x C."""


@dataclass(frozen=True)
class ImageShape:
    """Says the shape that all images are brought to.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        height: in pixels.
        width: in pixels.
    """

    channels: int
    height: int
    width: int


def to_shape(image: npt.NDArray[Any], shape: ImageShape) -> npt.NDArray[Any]:
    """Bring one image to a shape, by antialiased bilinear resizing.

    Grey is repeated to RGB, RGB becomes its ITU-R 601 luma. An image H' x W' x 1 or H' x W' x 3,
    uint8 or uint16, becomes C x H x W of the same dtype; one that has the shape already is passed
    on bit for bit.
    """
    found: npt.NDArray[Any] = batch_to_shape(image[None], shape)[0]
    return found


def batch_to_shape(batch: npt.NDArray[Any], shape: ImageShape) -> npt.NDArray[Any]:
    """Bring a batch of images, N x H' x W' x C', to a shape, as :func:`to_shape` does one.

    What is returned shares the memory of the batch where that has the height and width already, so
    do not write to it.
    """
    size = (shape.height, shape.width)
    images = np.moveaxis(batch, 3, 1)
    if images.shape[2:] != size or images.shape[1] > shape.channels:
        block = max(1, _STRIP // max(images[:1].size, 1))
        parts = [
            _resize(batch[start : start + block], size, shape.channels)
            for start in range(0, len(batch), block)
        ]
        none = np.empty((0, shape.channels, *size), batch.dtype)
        images = np.concatenate(parts) if parts else none
    if images.shape[1] < shape.channels:
        images = np.broadcast_to(images, (len(images), shape.channels, *size))
    return images


def _resize(batch: npt.NDArray[Any], size: tuple[int, int], channels: int) -> npt.NDArray[Any]:
    """Images N x H' x W' x C' to N x C x H x W, of so many channels or fewer."""
    given = batch.shape[1:3]
    if batch[0].size > _STRIP and given != size:  # one image
        image = batch[0]
        pixels = resampled(
            lambda start, stop: image[start:stop], given, first=(0, 0), length=given, wanted=size
        )[None]
        pixels = np.moveaxis(_grey(pixels) if pixels.shape[3] > channels else pixels, 3, 1)
    else:
        pixels = np.moveaxis(_grey(batch) if batch.shape[3] > channels else batch, 3, 1)
        if given != size:
            narrow = _last_axis(pixels, 0, given[1], size[1])
            pixels = np.swapaxes(_last_axis(np.swapaxes(narrow, 2, 3), 0, given[0], size[0]), 2, 3)
    return np.ascontiguousarray(rounded(pixels, batch.dtype))


def _grey(pixels: npt.NDArray[Any]) -> Floats:
    """The luma of RGB, N x H x W x 1."""
    grey: Floats = pixels.astype(np.float32) @ _LUMA[:, None]
    return grey


def rounded(pixels: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round floats to pixels of a type, in its range."""
    found: npt.NDArray[Any] = pixels.round().clip(0, np.iinfo(dtype).max).astype(dtype)
    return found


def resampled(
    rows: Rows,
    size: Sequence[int],
    *,
    first: Sequence[int],
    length: Sequence[int],
    wanted: Sequence[int],
) -> Floats:
    """Bring a rectangle of an image to a size, by antialiased bilinear resizing.

    What lies beyond the image is its edge, repeated.

    Args:
        rows: Of the image, uint8 or uint16.
        size: Height and width of the image.
        first: First row and column of the rectangle, which may reach beyond the image.
        length: Height and width of the rectangle.
        wanted: Height and width of the result.

    Returns:
        Height x width x C, in the range of the image.
    """
    begin, end = max(first[0], 0), min(first[0] + length[0], size[0])
    step = max(_STRIP // (max(size[1], length[1]) * rows(0, 1).shape[2]), 1)
    strips = []
    for start in range(begin, end, step):
        strip = np.moveaxis(rows(start, min(start + step, end)), 2, 0)  # C x h x W
        strips.append(_last_axis(strip, first[1], length[1], wanted[1]))
    narrow = np.concatenate(strips, axis=1)
    small = _last_axis(np.swapaxes(narrow, 1, 2), first[0] - begin, length[0], wanted[0])
    return small.T


def _last_axis(values: npt.NDArray[Any], first: int, length: int, wanted: int) -> Floats:
    """Bring a stretch of the last axis to a length; beyond the ends it is their value.

    Pillow resizes planes of floats exactly; pixels of 8 bits it would round between the axes.
    """
    side = values.shape[-1]
    if (first, length) != (0, side):
        values = values[..., np.clip(np.arange(first, first + length), 0, side - 1)]
    lines = values.astype(np.float32, order="C").reshape(-1, length)
    drawn = Image.fromarray(lines).resize((wanted, len(lines)), Image.Resampling.BILINEAR)
    return np.asarray(drawn).reshape(*values.shape[:-1], wanted)
