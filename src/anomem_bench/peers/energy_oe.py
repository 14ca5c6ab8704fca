"""Energy with outliers: margins on the energy of a classifier (Liu et al., NeurIPS 2020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.classifier import OUTLIER, Classifier, energy

PRETRAINING = 0.6  # of the training
MARGIN_IN, MARGIN_OUT = -23.0, -5.0
_WEIGHT = 0.1
_RATE = 0.1


class EnergyOE(Classifier):
    """Fine-tunes a classifier until normals are below and outliers above a margin of energy.

    "Energy-based Out-of-distribution Detection", section 3.3 (official code: wetliu/energy_ood).
    After a plain classification, squared hinges push the energy ``-log sum exp f`` of normals below
    -23 and that of outliers above -5, beside the cross-entropy of the normals; the score is the
    energy. Two outliers are drawn for each normal, as there. Departures from the official code: one
    run, of which fine-tuning is the last 40%, in place of 100 epochs and ten more; the loss of the
    fine-tuning is divided by ten, so that SGD takes a tenth of the learning rate, which there is a
    hundredth; outliers are those of the protocol in place of 80 million Tiny Images; encoder, views
    and optimiser are the detector's.

    The loss is written here, as pytorch-ood, which has it, loads all its data sets and models with
    it (6 s), and has not the balanced form of it.
    """

    score_names = ("energy-oe",)
    given = ("class labels", "outliers")

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Take the cross-entropy of normals; from 60% of the training on, with the margins."""
        if self.done_ < PRETRAINING:
            return super().loss(network, images, label, chance)
        logits = self.logits(network(random_view(images, self.config.views, chance)))
        known = label != OUTLIER
        classified = functional.cross_entropy(logits[known], label[known])
        margins = self.margins(logits[known], logits[~known])
        return _RATE * (classified + _WEIGHT * margins)

    def margins(self, normal: Tensor, outlier: Tensor) -> Tensor:
        """Measure how far the energies of logits (B, K) are beyond their margins."""
        return above(normal).mean() + (MARGIN_OUT - energy(outlier)).relu().square().mean()

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the energy."""
        return {self.score_names[0]: energy(self.logits(self.network_(images))).cpu()}


def above(normal: Tensor) -> Tensor:
    """Square by how much each energy (B,) of the logits (B, K) of normals is above its margin."""
    return (energy(normal) - MARGIN_IN).relu().square()
