"""Balanced energy: margins by how common an outlier's class is (Choi et al., CVPR 2023)."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor

from anomem.images.image_set import Chosen
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.classifier import energy
from anomem_bench.peers.energy_oe import MARGIN_OUT, EnergyOE, above
from anomem_bench.peers.peer import PeerNetwork

_GAMMA = 0.05
_ALPHA = 10.0
_LOOKED_AT = 2000  # outliers


class BalancedEnergy(EnergyOE):
    """Asks a higher energy, and more often, of outliers that look like what most outliers are.

    "Balanced Energy Regularization Loss for Out-of-distribution Detection" (official code:
    hyunjunChhoi/Balanced_Energy), the row that the paper calls PEBAL. As :class:`EnergyOE`, and
    each outlier has ``Z = sum_k p_k prior_k^gamma``, with the softmax p of its logits and the
    powers summing to 1 over the classes: alpha Z is added to its margin, and Z weighs it. The prior
    of a class is the share of the outliers that the classifier takes for it when fine-tuning
    begins. Gamma .05 and alpha 10, the official choices for CIFAR-10. Departures beyond those of
    :class:`EnergyOE`: the prior is that of at most 2,000 outliers, each class counted once more.
    """

    score_names = ("balanced-energy",)

    def start(self, images: TrainingSet) -> tuple[Fabric, PeerNetwork]:
        """Build the network; there is no prior yet."""
        self._prior: Tensor | None = None
        return super().start(images)

    def margins(self, normal: Tensor, outlier: Tensor) -> Tensor:
        """Measure how far energies are beyond their margins, balanced over the outliers."""
        if self._prior is None:
            self._prior = self._measured_prior()
        return above(normal).mean() + balanced_margin(outlier, self._prior)

    @torch.no_grad()
    def _measured_prior(self) -> Tensor:
        assert self._outliers is not None
        training = self.network_.training
        self.network_.eval()
        chosen = Chosen.of(self._outliers).spread(_LOOKED_AT)
        told = [self.logits(self.network_(b)).argmax(1) for b in self.network_.batches(chosen)]
        self.network_.train(training)
        counts = torch.cat(told).bincount(minlength=len(self.known_)) + 1.0
        return counts / counts.sum()


def balanced_margin(outlier: Tensor, prior: Tensor) -> Tensor:
    """Average the squared hinges of outliers, each with its own margin and weight.

    Args:
        outlier: Logits (B, K).
        prior: Share of the outliers taken for each class, (K,), above 0.

    Returns:
        Scalar.
    """
    powers = prior**_GAMMA
    common = outlier.softmax(dim=1) @ (powers / powers.sum())
    missed = (MARGIN_OUT + _ALPHA * common - energy(outlier)).relu().square()
    return (common * missed).sum() / common.sum()
