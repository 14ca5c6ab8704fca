"""How the images of a fit become frames of one shape."""

from __future__ import annotations

import logging

from anomem.config import Config
from anomem.images.errors import times
from anomem.images.frame_shape import (
    TypicalImage,
    proportionate,
    proportionate_shape,
    square_shape,
    typical_image,
    what_is_lost,
)
from anomem.images.framing import Framing, around_region
from anomem.images.region import Region
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource
from anomem.model.encoder import patch_of, stride_of

_LOG = logging.getLogger(__name__)


def framing_of(config: Config, shape: ImageShape, region: Region | None) -> Framing:
    """Choose how all images become frames of a shape."""
    return Framing(config.images.framing, shape, region, config.images.reduced)


def typical_part(source: ImageSource, region: Region | None) -> TypicalImage:
    """Look at the part of some of the images that counts."""

    def part(size: tuple[int, int]) -> tuple[int, int]:
        box = around_region(region, size)
        return box.height, box.width

    return typical_image(source, part=part)


def choose_framing(config: Config, typical: TypicalImage, region: Region | None) -> Framing:
    """Choose how the images of a fit become frames, of which the part that counts is given.

    What they lose is logged.
    """
    shape = image_shape(config, typical)
    _LOG.info(what_is_lost(typical, config.images.framing, shape))
    return framing_of(config, shape, region)


def image_shape(config: Config, typical: TypicalImage) -> ImageShape:
    """Choose the shape of all frames: as configured, or as the images suggest.

    A size that is no height and width keeps the proportions of the images, its sides multiples of
    the stride of the first scale; letterboxes and tiles are square. Of a vision transformer the
    sides are then the nearest multiples of its patch.

    Raises:
        ValueError: Height and width are given, and are not multiples of the patch.
    """
    size = config.images.size
    if config.images.framing != "resize" or isinstance(size, tuple) or typical.aspect == 1:
        return _square_shape(config, typical)
    step = max(stride_of(config.encoder), 8)
    if size is None:
        shape = proportionate_shape(typical, step)
    else:
        height, width = proportionate(size, typical.aspect, step)
        shape = ImageShape(3 if typical.colour else 1, height, width)
    return _in_patches(config, shape)


def square_image_shape(config: Config, source: ImageSource) -> ImageShape:
    """Choose the shape of images of methods that turn them: as :func:`image_shape`, but square."""
    return _square_shape(config, typical_image(source))


def _square_shape(config: Config, typical: TypicalImage) -> ImageShape:
    inferred, size = square_shape(typical), config.images.size
    height, width = (
        (size, size) if isinstance(size, int) else size or (inferred.height, inferred.width)
    )
    return _in_patches(config, ImageShape(inferred.channels, height, width))


def _in_patches(config: Config, shape: ImageShape) -> ImageShape:
    """A shape of whole patches, with the channels that are chosen."""
    patch = patch_of(config.encoder)
    height, width = (max(round(side / patch), 1) * patch for side in (shape.height, shape.width))
    given = config.images.size
    if isinstance(given, tuple) and given != (height, width):
        raise ValueError(
            f"images.size is {times(given)}, but encoder {config.encoder.name!r} takes "
            f"multiples of {patch} pixels; give {times((height, width))}."
        )
    return ImageShape(config.images.channels or shape.channels, height, width)
