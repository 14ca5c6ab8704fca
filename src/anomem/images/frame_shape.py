"""What images are typically like, the shape that suits them, and what they lose in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.images.errors import ImageError, named, times
from anomem.images.layers import strips
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource

_STEP, _SHORTEST = 8, 16
"""What the sides of a shape are multiples of, and how long they are at least, in pixels."""
_LONGEST = 64
"""Side of the square that a shape has no more pixels than, where no size is given."""
_NOTICED = 0.1
"""Of the logarithm of the proportions: from here on images are called stretched."""
_LOOKED_AT = 32
"""Images that are looked at."""
_CRACK = 8
"""Width of the defect, in pixels, by which is told what images lose."""

Size = tuple[int, int]
"""Height and width, in pixels."""


@dataclass(frozen=True)
class TypicalImage:
    """Describes what images are like: medians over a sample.

    Attributes:
        height: In pixels.
        width: In pixels.
        shorter: The shorter side, in pixels.
        aspect: Height over width.
        colour: Whether any image has colour.
    """

    height: int
    width: int
    shorter: int
    aspect: float
    colour: bool


def typical_image(source: ImageSource, part: Callable[[Size], Size] | None = None) -> TypicalImage:
    """Look at some of the images, evenly spaced.

    Args:
        source: The images.
        part: Size of what counts of an image of a size; None is all of it.

    Raises:
        ImageError: None of them can be read.
    """
    sizes: list[Size] = []
    colour, error = False, None
    count = min(len(source), _LOOKED_AT)
    for index in np.linspace(0, len(source) - 1, count).round().astype(int).tolist():
        try:
            with named(source.names[index]):
                image = source[index]
                colour = colour or _has_colour(image)
                size = (image.shape[0], image.shape[1])
                sizes.append(size if part is None else part(size))
        except ImageError as unreadable:
            error = error or unreadable
    if not sizes:
        raise error or ValueError("There are no images; give at least one.")
    height, width = np.array(sizes).T
    return TypicalImage(
        height=int(np.median(height)),
        width=int(np.median(width)),
        shorter=int(np.median(np.minimum(height, width))),
        # The median of logarithms, so that as many upright as lying images are square.
        aspect=float(np.exp(np.median(np.log(height / width)))),
        colour=colour,
    )


def square_shape(typical: TypicalImage, longest: int = _LONGEST) -> ImageShape:
    """Choose a square that suits the images, of 3 channels if any of them has colour, else of 1.

    Its side is the median shorter side, at most ``longest`` pixels, rounded down to a multiple of 8
    and at least 16.
    """
    side = max(min(typical.shorter, longest) // _STEP * _STEP, _SHORTEST)
    return ImageShape(3 if typical.colour else 1, side, side)


def proportionate_shape(typical: TypicalImage, step: int = _STEP) -> ImageShape:
    """Choose a shape in the images' proportions, of at most 64 x 64 pixels and no larger than they.

    Height and width are at least 16 pixels, and multiples of a step. It is what
    :func:`square_shape` gives where they would differ by less than a step.
    """
    square = square_shape(typical)
    side = min(_LONGEST, round((typical.height * typical.width) ** 0.5))
    height, width = proportionate(side, typical.aspect, step)
    if height == width:
        return square
    height, width = (
        max(min(wanted, given // step * step), _SHORTEST)
        for wanted, given in ((height, typical.height), (width, typical.width))
    )
    while height * width > _LONGEST**2:
        height, width = (height - step, width) if height > width else (height, width - step)
    return ImageShape(square.channels, height, width)


def proportionate(side: int, aspect: float, step: int = _STEP) -> Size:
    """Choose height and width that have an aspect, and about as many pixels as a square of a side.

    They are the nearest multiples of a step, at least one each; the side itself where they would
    differ by less than a step.
    """
    height, width = (side * share for share in (aspect**0.5, aspect**-0.5))
    if abs(height - width) < step:
        return side, side
    return max(round(height / step), 1) * step, max(round(width / step), 1) * step


def what_is_lost(typical: TypicalImage, kind: str, shape: ImageShape) -> str:
    """Say what becomes of images, or the part that counts, in frames of a kind and shape."""
    given, frame = (typical.height, typical.width), (shape.height, shape.width)
    photographs = f"images of {times(given)} pixels (height x width, the median)"
    if kind == "tile":
        return f"{photographs} are cut into tiles of {times(frame)}, at full detail"
    shares = [side / whole for side, whole in zip(frame, given, strict=True)]
    share, kept = min(shares), abs(np.log(shares[0] / shares[1])) < _NOTICED
    done = "fitted into" if kind == "letterbox" else "brought to" if kept else "stretched to"
    if share >= 1:
        return f"{photographs} are {done} {times(frame)}, and lose nothing"
    return (
        f"{photographs} are {done} {times(frame)}: a crack of {_CRACK} pixels becomes "
        f"{_CRACK * share:.2g}; a larger size or tiles keep more"
    )


def _has_colour(image: npt.NDArray[Any]) -> bool:
    return image.shape[2] == 3 and any(
        (image[rows, :, :1] != image[rows, :, 1:]).any() for rows in strips(*image.shape[:2])
    )
