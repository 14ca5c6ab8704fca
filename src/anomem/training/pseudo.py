"""Pseudo-anomalies: normal images altered into something that is not normal (label 1).

None of them is ever memorised, as Eq. 1 says of anomalies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from anomem.training.draws import Chance
from anomem.training.ranks import ALONE, Ranks
from anomem.training.views import zoomed

_QUARTERS = {"rotate90": 1, "rotate180": 2, "rotate270": 3}
_TONES = ((0.5, 1.5), (0.8, 1.25))
"""Range of the contrast and of the brightness of a pasted patch, relative to its donor's."""


def pseudo_anomalies(
    images: Tensor, kinds: Sequence[str], ranks: Ranks = ALONE
) -> tuple[Tensor, Tensor]:
    """Turn each image by one of the kinds, in equal shares, the first rows by the first kind.

    Where an image is not square, its quarter turns are stretched back to its size.

    Args:
        images: (B, C, H, W), floats in [0, 1].
        kinds: From "rotate90", "rotate180" and "rotate270", at least one.
        ranks: Processes that share a batch, of which these are the own rows.

    Returns:
        The turned images (B, C, H, W), and for each the index of its kind (B,).

    Example:
        >>> images = torch.rand(4, 3, 32, 32)
        >>> turned, kind = pseudo_anomalies(images, ["rotate90", "rotate180"])
        >>> kind
        tensor([0, 0, 1, 1])
        >>> torch.equal(turned[3], images[3].flip(1, 2))
        True
    """
    shares = torch.arange(ranks.world * len(images)).tensor_split(len(kinds))
    whole = torch.cat([torch.full_like(share, number) for number, share in enumerate(shares)])
    counts = ranks.own(whole).bincount(minlength=len(kinds)).tolist()
    turned = [
        _turned(own, _QUARTERS[kind])
        for kind, own in zip(kinds, images.split(counts), strict=True)
        if len(own) > 0
    ]
    numbers = [
        torch.full((count,), number, device=images.device) for number, count in enumerate(counts)
    ]
    return torch.cat(turned), torch.cat(numbers)


def _turned(images: Tensor, quarters: int) -> Tensor:
    turned = torch.rot90(images, quarters, dims=(2, 3))
    if turned.shape[2:] != images.shape[2:]:
        turned = functional.interpolate(turned, images.shape[2:], mode="bilinear")
    return turned


def patched(images: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of each image into itself, from 2% of the area to nearly all of it.

    After CutPaste (Li et al., CVPR 2021). The donor is shifted, enlarged up to three times or
    shrunk by a third, and changed in brightness and contrast, so that a patch may also differ in
    sharpness and tone alone.

    Args:
        images: (B, C, H, W), floats in [0, 1].
        chance: Its generator on the device of the images.

    Returns:
        The images with a patch, and where it is: (B, 1, H, W), 1 inside, else 0.
    """
    area = _uniform(images, chance, math.log(0.02), math.log(1.5)).exp()
    aspect = _uniform(images, chance, math.log(0.3), math.log(3.3)).exp().sqrt()
    width, height = area.sqrt() * aspect, area.sqrt() / aspect
    rows, columns = images.shape[2:]
    y = (torch.arange(rows, device=images.device).view(1, -1, 1) + 0.5) / rows
    x = (torch.arange(columns, device=images.device).view(1, 1, -1) + 0.5) / columns
    to_y = y - _uniform(images, chance, 0.1, 0.9)
    to_x = x - _uniform(images, chance, 0.1, 0.9)
    inside = ((to_x.abs() < width / 2) & (to_y.abs() < height / 2)).unsqueeze(1)
    donors = _shifted_and_zoomed(images, chance)
    mean = donors.mean(dim=(2, 3), keepdim=True)
    contrast, tint = (_uniform(images, chance, *r).unsqueeze(1) for r in _TONES)
    donors = torch.lerp(mean, donors, contrast) * tint
    return torch.where(inside, donors.clamp(0, 1), images), inside.float()


def _uniform(images: Tensor, chance: Chance, low: float, high: float) -> Tensor:
    """One draw an image, (B, 1, 1)."""
    return chance.uniform(len(images), low, high).view(-1, 1, 1)


def _shifted_and_zoomed(images: Tensor, chance: Chance) -> Tensor:
    zoom = chance.uniform(len(images), math.log(0.35), math.log(1.5)).exp()
    shift_x, shift_y = (chance.uniform(len(images), -1.0, 1.0) for _ in range(2))
    return zoomed(images, zoom, zoom, shift_x, shift_y, padding="reflection")
