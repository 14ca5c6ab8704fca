"""The region of an image in which anomalies count."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from anomem.images.layers import strips
from anomem.images.masks import read_mask

Region = npt.NDArray[np.bool_]
"""H x W of any size, scaled to each image; True inside."""

_NUMBER = r"\d*\.?\d+"
_CORNERS = re.compile(rf"\s*{_NUMBER},{_NUMBER}(\s+{_NUMBER},{_NUMBER})*\s*")
_DRAWN = 1024
"""Side of the mask that corners are drawn on, in pixels."""


def read_region(given: str | Path | npt.ArrayLike) -> Region:
    """Read a region from a mask or from the corners of a polygon.

    Args:
        given: A mask: an image file, bright inside, or an array H x W, not 0 inside. Or at least
            three corners as text, x,y each, in shares of the width and height of an image:
            "0.1,0.2 0.9,0.2 0.5,1".

    Raises:
        ImageError: The mask cannot be read.
        ValueError: Corners are outside of the image or fewer than three, or nothing is inside.
    """
    if isinstance(given, str) and _CORNERS.fullmatch(given):
        region = _drawn(given)
    elif isinstance(given, str | os.PathLike):
        region = read_mask(Path(given))
    else:
        region = np.asarray(given) != 0
        if region.ndim != 2:
            raise ValueError(f"the region has {region.ndim} dimensions; give a mask H x W.")
    if not region.any():
        raise ValueError(f"the region {_short(given)} holds no pixel; give one that does.")
    return region


def region_at(region: Region, size: Sequence[int]) -> Region:
    """Scale a region to an image of a height and width; never empty where the region is not."""
    rows, columns = (
        ((np.arange(side) + 0.5) * cells / side).astype(int)
        for side, cells in zip(size, region.shape, strict=True)
    )
    scaled: Region = region[np.ix_(rows, columns)]
    if scaled.any():
        return scaled
    # Smaller than a pixel of the image: the pixel it lies in.
    inside = np.argwhere(region)[0] * np.asarray(size) // np.asarray(region.shape)
    scaled[tuple(inside)] = True
    return scaled


def colour_inside(pixels: npt.NDArray[Any], inside: Region) -> npt.NDArray[Any]:
    """Average the colour (C,) of an image H x W x C within its region."""
    total = sum(
        pixels[rows][inside[rows]].sum(axis=0, dtype=np.float64) for rows in strips(*inside.shape)
    )
    colour: npt.NDArray[Any] = np.round(total / inside.sum()).astype(pixels.dtype)
    return colour


def _drawn(corners: str) -> Region:
    points = np.array([corner.split(",") for corner in corners.split()], dtype=float)
    if len(points) < 3:
        raise ValueError(f"the region {corners!r} has {len(points)} corners; give at least three.")
    if points.max() > 1:
        raise ValueError(
            f"the region {corners!r} has a corner at {points.max():g}; corners are shares of width "
            "and height, from 0 to 1."
        )
    drawn = Image.new("1", (_DRAWN, _DRAWN))
    ImageDraw.Draw(drawn).polygon([(x, y) for x, y in points * _DRAWN], fill=1)
    return np.asarray(drawn)


def _short(given: object) -> str:
    return repr(given) if isinstance(given, str) else str(given) if isinstance(given, Path) else ""
