"""Images of any size to tensors of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import interpolate

_BLOCK = 2**24  # values
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


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


def to_shape(image: npt.NDArray[Any], shape: ImageShape) -> Tensor:
    """Bring one image to a shape, by antialiased bilinear resizing.

    Grey is repeated to RGB, RGB becomes its ITU-R 601 luma. An image H' x W' x 1 or H' x W' x 3,
    uint8 or uint16, becomes C x H x W of the same dtype; one that has the shape already is passed
    on bit for bit.
    """
    return batch_to_shape(image[None], shape)[0]


def batch_to_shape(batch: npt.NDArray[Any], shape: ImageShape) -> Tensor:
    """Bring a batch of images, N x H' x W' x C', to a shape, as :func:`to_shape` does one.

    What is returned shares the memory of the batch where that has the height and width already, so
    do not write to it.
    """
    size = (shape.height, shape.width)
    if batch[:1].size > _BLOCK and batch.shape[1:3] != size:
        return torch.stack([_large_to_shape(image, shape) for image in batch])
    strange = any(step < 0 or step % batch.itemsize for step in batch.strides)
    if strange or not batch.flags.writeable:  # torch cannot share such memory
        batch = batch.copy()
    images = torch.from_numpy(batch).permute(0, 3, 1, 2)
    if images.shape[2:] != size or images.shape[1] > shape.channels:
        # In blocks, since large images as floats take much memory.
        block = max(1, _BLOCK // images[:1].numel()) if len(images) else 1
        parts = torch.split(images, block)
        images = torch.cat([_resize(part, size, shape.channels) for part in parts])
    if images.shape[1] < shape.channels:
        images = images.expand(-1, shape.channels, -1, -1)
    return images


def _large_to_shape(image: npt.NDArray[Any], shape: ImageShape) -> Tensor:
    """One image H' x W' x C' to C x H x W, some rows at a time."""
    size = image.shape[:2]
    pixels = resampled(
        lambda start, stop: image[start:stop],
        size,
        first=(0, 0),
        length=size,
        wanted=(shape.height, shape.width),
    )
    if pixels.shape[2] > shape.channels:
        pixels = pixels @ np.asarray(_LUMA, dtype=np.float32)[:, None]
    whole = torch.from_numpy(rounded(pixels, image.dtype)).permute(2, 0, 1)
    return whole.expand(shape.channels, -1, -1)


def rounded(pixels: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round floats to pixels of a type, in its range."""
    found: npt.NDArray[Any] = pixels.round().clip(0, np.iinfo(dtype).max).astype(dtype)
    return found


def _resize(images: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    pixels = images.to(torch.float32)
    if pixels.shape[1] > channels:
        pixels = torch.einsum("nchw,c->nhw", pixels, torch.tensor(_LUMA)).unsqueeze(1)
    if pixels.shape[2:] != size:
        pixels = interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return pixels.round_().clamp_(0, torch.iinfo(images.dtype).max).to(images.dtype)


_STRIP = 2**22
"""Values that are resampled at a time."""

Rows = Callable[[int, int], npt.NDArray[Any]]
"""The rows of an image from one up to another, h x W x C."""


def resampled(
    rows: Rows,
    size: Sequence[int],
    *,
    first: Sequence[int],
    length: Sequence[int],
    wanted: Sequence[int],
) -> npt.NDArray[np.float32]:
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
    down, across = (
        _weights(*each).astype(np.float32) for each in zip(first, length, size, wanted, strict=True)
    )
    used = np.flatnonzero(np.diff(down.tocsc().indptr))
    channels = rows(0, 1).shape[2]
    step = max(_STRIP // (size[1] * channels), 1)
    total = np.zeros((wanted[0], wanted[1] * channels), dtype=np.float32)
    for start in range(int(used[0]), int(used[-1]) + 1, step):
        stop = min(start + step, int(used[-1]) + 1)
        strip = np.moveaxis(rows(start, stop), 1, 0).reshape(size[1], -1)  # W x (h C)
        narrow = (across @ strip.astype(np.float32)).reshape(wanted[1], stop - start, channels)
        total += down[:, start:stop] @ np.moveaxis(narrow, 0, 1).reshape(stop - start, -1)
    return total.reshape(wanted[0], wanted[1], channels)


def _weights(first: int, length: int, size: int, wanted: int) -> csr_array:
    """What each cell of a result has of each of an image, (wanted, size), as PyTorch weighs.

    The result is that of the cells of the image from ``first`` on, ``length`` of them, of which
    those beyond the image are the nearest within.
    """
    scale = length / wanted
    reach = max(scale, 1.0)
    centre = (np.arange(wanted) + 0.5) * scale
    begin = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    cell = np.repeat(np.arange(wanted), end - begin)
    source = np.arange(len(cell)) - np.repeat(
        np.cumsum(end - begin) - (end - begin) - begin, end - begin
    )
    weight = np.maximum(1 - np.abs(source - centre[cell] + 0.5) / reach, 0)
    weight /= np.bincount(cell, weight, wanted)[cell]
    return csr_array((weight, (cell, np.clip(first + source, 0, size - 1))), shape=(wanted, size))
