"""Large images to one size, some rows at a time, so that they take little memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

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
    """What each cell of an image has of each cell of a result, (wanted, size), as PyTorch weighs.

    Args:
        first: Where the part that becomes the result begins, in cells of the image.
        length: Cells of that part, of which those beyond the image are the nearest within.
        size: Cells of the image.
        wanted: Cells of the result.
    """
    scale = length / wanted
    reach = max(scale, 1.0)
    centre = (np.arange(wanted) + 0.5) * scale
    begin = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    cell = np.repeat(np.arange(wanted), end - begin)
    place = np.arange(len(cell)) - np.repeat(
        np.cumsum(end - begin) - (end - begin) - begin, end - begin
    )
    weight = np.maximum(1 - np.abs(place - centre[cell] + 0.5) / reach, 0)
    weight /= np.bincount(cell, weight, wanted)[cell]
    return csr_array((weight, (cell, np.clip(first + place, 0, size - 1))), shape=(wanted, size))
