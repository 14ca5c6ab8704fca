"""The labelled images of each training step, before their views."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from anomem.config import PseudoChoices, Stage1Choices
from anomem.network.encoder import to_float
from anomem.training.draws import Draws
from anomem.training.pseudo import pseudo_anomalies


class ImageSet(Protocol):
    """Images of one size that can be drawn by index."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """(B, C, H, W), uint8 or uint16."""
        ...


class Batches:
    """Normals, labelled anomalies and pseudo-anomalies of each step.

    Args:
        normals: Training normals.
        anomalies: Labelled anomalies, drawn in balance with the normals; None for none.
        choices: Of the batch and of the share of anomalies in it.
        pseudo: Of the pseudo-anomalies made of the normals.
        seed: Of the draws.
        device: Where the batch is put.
    """

    def __init__(
        self,
        normals: ImageSet,
        anomalies: ImageSet | None,
        choices: Stage1Choices,
        pseudo: PseudoChoices,
        seed: int,
        device: torch.device,
    ) -> None:
        self.normals, self.anomalies = normals, anomalies
        self.pseudo, self.device = pseudo, device
        self.normal_draws = Draws(len(normals), choices.batch, seed)
        if anomalies is not None:
            share = choices.anomaly_share or len(anomalies) / len(normals)
            wanted = max(1, round(self.normal_draws.batch * share))
            self.anomaly_draws = Draws(len(anomalies), wanted, seed + 1)

    def at(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [0, 1], and the kind (B,) of each.

        0 is normal, 1 a labelled anomaly, and 2, 3, ... the kinds of pseudo-anomalies in order.
        """
        normal = self._take(self.normals, self.normal_draws.indices(step))
        parts = [normal]
        kinds = [torch.zeros(len(normal), dtype=torch.int64, device=self.device)]
        if self.anomalies is not None:
            parts.append(self._take(self.anomalies, self.anomaly_draws.indices(step)))
            kinds.append(torch.ones_like(kinds[0][:1]).expand(len(parts[-1])))
        if self.pseudo.kinds:
            count = max(1, round(len(normal) * self.pseudo.share))
            repeated = normal[torch.arange(count, device=self.device) % len(normal)]
            altered, kind = pseudo_anomalies(repeated, self.pseudo.kinds, generator)
            parts.append(altered)
            kinds.append(2 + kind)
        return torch.cat(parts), torch.cat(kinds)

    def _take(self, images: ImageSet, indices: Tensor) -> Tensor:
        return to_float(images.take(indices).to(self.device))
