"""Normals that are unlike all others, as anomalies that slipped in are: they leave the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from anomem.detector.feature_bank import FeatureBank
from anomem.detector.origins import Origin, frames_of
from anomem.detector.training_images import TrainingImages
from anomem.model.network import MultiScaleMemory
from anomem.training.prototypes import Turn, extract_in_turn, leave_out

_FAR = 5.0
"""Standard deviations, by the median, above the median score (docs/lab-book/recipe.md)."""
_FEWEST = 100
"""Normals; of fewer it is not known what is usual."""
_AT_MOST = 0.1
"""Share of the normals; more that are far out are a kind of their own."""


def without_odd_normals(
    network: MultiScaleMemory,
    bank: FeatureBank,
    images: TrainingImages,
    turns: Sequence[Turn],
    before: Sequence[Origin] = (),
    left_out: Tensor | None = None,
) -> FeatureBank:
    """Find normals that are unlike the others, and measure all others by memories without them.

    They stay among the normals that decisions rest on: that a normal was left out for its score
    must not lower the threshold for those to come.

    Args:
        network: Of the fit.
        bank: Of the images, as the turns measure them.
        images: Of the fit, or of a further kind of normal.
        turns: By which held-out normals are measured; their memories are changed in place.
        before: Frames that the memories have known before those of these images.
        left_out: (M,) int64, digests of images that have been left out before.
    """
    scores = bank.held_out.scores.double() @ torch.tensor(network.lambdas).double()
    highest = torch.full((len(bank.held_out_digest),), -torch.inf, dtype=torch.float64)
    highest.scatter_reduce_(0, bank.held_out_image, scores, "amax")
    odd = far_above(highest)
    gone = bank.held_out_digest[odd]
    if left_out is not None:
        gone = torch.cat([left_out, gone])
    frames = frames_of([*before, *images.normals_origin], gone)
    if len(frames) == 0:
        return bank
    leave_out(turns, frames)
    return replace(bank, held_out=extract_in_turn(turns, images.held_out), held_out_odd=odd)


def far_above(scores: Tensor) -> Tensor:
    """Tell which of N scores lie far above the others; none where they are many, or N is small.

    >>> far_above(torch.cat([torch.linspace(1, 2, 100), torch.tensor([9.0])])).nonzero()
    tensor([[100]])
    """
    off = scores - scores.median()
    far = off > _FAR * 1.4826 * off.abs().median().clamp(min=1e-12)
    return far & (len(scores) >= _FEWEST) & (far.sum() <= _AT_MOST * len(scores))
