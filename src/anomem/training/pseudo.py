"""Pseudo-anomalies: normal images altered into something that is not normal (label 1).

A small registry of batched functions ``(images, chance) -> images`` on (B, C, H, W) floats in
[0, 1]. None of them is ever memorised, as Eq. 1 says of anomalies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from anomem.training.draws import Chance
from anomem.training.views import resampled

_TONES = ((0.5, 1.5), (0.8, 1.25))
"""Range of the contrast and of the brightness of a pasted patch, relative to its donor's."""

PseudoAnomaly = Callable[[Tensor, Chance], Tensor]


def rotate90(images: Tensor, chance: Chance) -> Tensor:
    """Turn each image by a quarter (stretched back where it is not square)."""
    return _turned(images, 1)


def rotate180(images: Tensor, chance: Chance) -> Tensor:
    """Turn each image upside down."""
    return _turned(images, 2)


def rotate270(images: Tensor, chance: Chance) -> Tensor:
    """Turn each image by three quarters (stretched back where it is not square)."""
    return _turned(images, 3)


def cutpaste(images: Tensor, chance: Chance) -> Tensor:
    """Paste a rectangle of the image itself, from 2% of the area to nearly all of it.

    After CutPaste (Li et al., CVPR 2021), with the patch also changed in size and tone. Where it
    covers the image, size and tone alone tell it from a normal one, which teaches the detector
    changes of style.
    """
    return patched(images, chance)[0]


def patched(images: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
    """The images of :func:`cutpaste`, and where the patch is: (B, 1, H, W), 1 inside, else 0."""
    area = _uniform(images, chance, math.log(0.02), math.log(1.5)).exp()
    aspect = _uniform(images, chance, math.log(0.3), math.log(3.3)).exp().sqrt()
    return _paste(images, area.sqrt() * aspect, area.sqrt() / aspect, 0 * area, chance)


def cutpaste_scar(images: Tensor, chance: Chance) -> Tensor:
    """Paste a long thin rectangle of the image itself, turned by a random angle.

    After the scar variant of CutPaste (Li et al., CVPR 2021).
    """
    width = _uniform(images, chance, 0.03, 0.12)
    length = _uniform(images, chance, 0.15, 0.5)
    angle = _uniform(images, chance, -math.pi, math.pi)
    return _paste(images, length, width, angle, chance)[0]


def noise(images: Tensor, chance: Chance) -> Tensor:
    """Add Gaussian noise of grain 1, 2, 4 or 8 pixels and standard deviation 0.1 to 0.3."""
    grain = int(torch.randint(0, 4, (1,), generator=chance.generator, device=images.device))
    height, width = (max(2, side >> grain) for side in images.shape[2:])
    field = chance.normal(len(images), images.shape[1], height, width)
    if grain:
        field = functional.interpolate(field, images.shape[2:], mode="bilinear")
    sigma = _uniform(images, chance, 0.1, 0.3).unsqueeze(1)
    return (images + sigma * field).clamp(0, 1)


PSEUDO_ANOMALIES: dict[str, PseudoAnomaly] = {
    "rotate90": rotate90,
    "rotate180": rotate180,
    "rotate270": rotate270,
    "cutpaste": cutpaste,
    "cutpaste_scar": cutpaste_scar,
    "noise": noise,
}


def pseudo_anomalies(images: Tensor, kinds: Sequence[str], chance: Chance) -> tuple[Tensor, Tensor]:
    """Alter each image by one of the kinds, in equal shares.

    Args:
        images: (B, C, H, W), floats in [0, 1].
        kinds: Names in :data:`PSEUDO_ANOMALIES`, at least one.
        chance: Its generator on the device of the images.

    Returns:
        The altered images (B, C, H, W), floats in [0, 1], and for each the index of its kind (B,).
    """
    made, index = [], []
    parts = chance.parts(len(images), len(kinds))
    for number, (kind, (rows, part)) in enumerate(zip(kinds, parts, strict=False)):
        made.append(PSEUDO_ANOMALIES[kind](images[rows], part))
        index.append(torch.full((len(made[-1]),), number, device=images.device))
    return torch.cat(made), torch.cat(index)


def _turned(images: Tensor, quarters: int) -> Tensor:
    turned = torch.rot90(images, quarters, dims=(2, 3))
    if turned.shape[2:] != images.shape[2:]:
        turned = functional.interpolate(turned, images.shape[2:], mode="bilinear")
    return turned


def _uniform(images: Tensor, chance: Chance, low: float, high: float) -> Tensor:
    """One draw an image, (B, 1, 1)."""
    return chance.uniform(len(images), low, high).view(-1, 1, 1)


def _paste(
    images: Tensor, width: Tensor, height: Tensor, angle: Tensor, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Paste turned rectangles of the images; sides (B, 1, 1) are shares of the image's.

    The donor is shifted, enlarged up to three times or shrunk by a third, and changed in
    brightness and contrast, so that a patch may also differ in sharpness and tone alone.
    """
    rows, columns = images.shape[2:]
    y = (torch.arange(rows, device=images.device).view(1, -1, 1) + 0.5) / rows
    x = (torch.arange(columns, device=images.device).view(1, 1, -1) + 0.5) / columns
    to_y = y - _uniform(images, chance, 0.1, 0.9)
    to_x = x - _uniform(images, chance, 0.1, 0.9)
    along = to_x * angle.cos() + to_y * angle.sin()
    across = to_y * angle.cos() - to_x * angle.sin()
    inside = ((along.abs() < width / 2) & (across.abs() < height / 2)).unsqueeze(1)
    donors = _shifted_and_zoomed(images, chance)
    mean = donors.mean(dim=(2, 3), keepdim=True)
    contrast, tint = (_uniform(images, chance, *r).unsqueeze(1) for r in _TONES)
    donors = torch.lerp(mean, donors, contrast) * tint
    return torch.where(inside, donors.clamp(0, 1), images), inside.float()


def _shifted_and_zoomed(images: Tensor, chance: Chance) -> Tensor:
    zoom = chance.uniform(len(images), math.log(0.35), math.log(1.5)).exp()
    shift_x, shift_y = (chance.uniform(len(images), -1.0, 1.0) for _ in range(2))
    return resampled(images, zoom, zoom, shift_x, shift_y, padding="reflection")
