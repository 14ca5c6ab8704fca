"""MHRot: prediction of rotations and translations (Hendrycks et al., NeurIPS 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.peer import TrainedPeer

_TURNS, _SHIFTS = 4, 3
_COPIES = [*((turn, 0, 0) for turn in range(_TURNS)), (0, 1, 0), (0, 2, 0), (0, 0, 1), (0, 0, 2)]
"""Rotation and shifts of each copy that is scored."""


class MHRot(TrainedPeer):
    """Predicts the rotation and the translations of an image; anomalies are hard to predict.

    "Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty", section 4.2:
    one head for four rotations and one for three shifts along each axis; the score is minus the
    mean of the log-probabilities of what was done. Departures from the official code: each image
    of the batch enters a step under its four rotations, with one random shift each; views are the
    detector's; at test time eight copies are scored (four rotations, four shifts) in place of all
    36 combinations. Labelled anomalies are not used.
    """

    score_names = ("mhrot",)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build linear heads for the rotation, and for the shift along each axis."""
        return {
            "turn": nn.Linear(width, _TURNS),
            "down": nn.Linear(width, _SHIFTS),
            "right": nn.Linear(width, _SHIFTS),
        }

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Take the cross-entropy of the three heads on four rotations of each normal."""
        view = random_view(images[label == 0], self.config.views, chance)
        turn = torch.arange(_TURNS, device=view.device).repeat_interleave(len(view))
        down, right = (chance.integers(len(turn), _SHIFTS) for _ in range(2))
        copies = torch.cat([torch.rot90(view, k, dims=(2, 3)) for k in range(_TURNS)])
        logits = self._logits(network(shifted(copies, down, right)))
        return sum(
            (
                functional.cross_entropy(logits[name], target)
                for name, target in (("turn", turn), ("down", down), ("right", right))
            ),
            start=torch.zeros((), device=view.device),
        )

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give minus the mean log-probability of what was done to eight copies of each image."""
        total = torch.zeros(len(images), device=images.device)
        for turn, down, right in _COPIES:
            copies = torch.rot90(images, turn, dims=(2, 3))
            same = torch.ones(len(images), dtype=torch.int64, device=images.device)
            logits = self._logits(self.network_(shifted(copies, down * same, right * same)))
            for name, target in (("turn", turn), ("down", down), ("right", right)):
                total -= logits[name].log_softmax(dim=1)[:, target]
        return {"mhrot": (total / len(_COPIES)).cpu()}

    def _logits(self, features: Tensor) -> dict[str, Tensor]:
        return {name: self.head(name)(features.float()) for name in ("turn", "down", "right")}


def shifted(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift images (B, C, H, W) by 0, +1 or -1 quarters of their side, filled by reflection.

    Args:
        images: (B, C, H, W).
        down: Index into (0, +1, -1) of each image, (B,).
        right: The same along the width.
    """
    height, width = images.shape[2:]
    y, x = height // 4, width // 4
    padded = functional.pad(images, (x, x, y, y), mode="reflect")
    result = torch.empty_like(images)
    for d, top in enumerate((y, 0, 2 * y)):
        for r, left in enumerate((x, 0, 2 * x)):
            chosen = (down == d) & (right == r)
            result[chosen] = padded[chosen, :, top : top + height, left : left + width]
    return result
