"""A plain classifier of the normals' own classes, and what its logits say of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from anomem.config import PseudoChoices
from anomem.training.batches import Batches, Drawn
from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.peer import PeerNetwork, TrainedPeer

OUTLIER = -1
"""Label of an outlier, beside the classes 0, 1, ..."""
_OUTLIERS = 2.0  # in a batch, for each normal


class Classifier(TrainedPeer):
    """Tells the classes of the normals apart by cross-entropy, the baseline of its subclasses.

    Its logits f give two scores, without any outlier:

    - "msp": minus the largest softmax probability ("A Baseline for Detecting Misclassified and
      Out-of-Distribution Examples in Neural Networks", Hendrycks and Gimpel, ICLR 2017);
    - "energy": ``-log sum exp f`` ("Energy-based Out-of-distribution Detection", Liu et al.,
      NeurIPS 2020, section 3.2, at temperature 1).

    Departures from the official code of both: encoder, views and optimiser are the detector's.
    """

    score_names: tuple[str, ...] = ("msp", "energy")
    given: ClassVar[tuple[str, ...]] = ("class labels",)

    def start(self, images: TrainingSet) -> tuple[Fabric, PeerNetwork]:
        """Build a network with a logit for each class.

        Raises:
            ValueError: The classes are not known, or outliers are asked for and there are none.
        """
        name = type(self).__name__
        if images.classes is None:
            raise ValueError(f"{name} learns from the classes of normals, as of ood; give them.")
        self._outliers = images.outliers if "outliers" in self.given else None
        if "outliers" in self.given and images.outliers is None:
            raise ValueError(f"{name} learns from outliers, as ood --outliers names; give some.")
        self.known_, self._class = np.unique(images.classes, return_inverse=True)
        return super().start(images)

    def drawn(
        self, images: TrainingSet, device: torch.device
    ) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Give what draws normals, with outliers where they are used, and their classes."""
        choices = replace(self.config.stage1, anomaly_share=_OUTLIERS)
        none = PseudoChoices()
        batches = Batches(images.normals, self._outliers, choices, none, self.seed, device)
        normals, classes = batches.normals, torch.from_numpy(self._class).to(device)
        assert isinstance(normals, Drawn)

        def at(step: int) -> tuple[Tensor, Tensor]:
            batch = batches.at(step)
            own = classes[normals.draws.indices(step).to(device)]
            outliers = own.new_full((len(batch.images) - batch.normals,), OUTLIER)
            return batch.images, torch.cat([own, outliers])

        return at

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build one linear layer."""
        return {"classes": nn.Linear(width, len(self.known_))}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Take the cross-entropy of the classes on one view of each normal."""
        known = label != OUTLIER
        views = random_view(images[known], self.config.views, chance)
        return functional.cross_entropy(self.logits(network(views)), label[known])

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give minus the largest probability, and the energy."""
        logits = self.logits(self.network_(images)).cpu()
        return {"msp": -logits.softmax(dim=1).amax(dim=1), "energy": energy(logits)}

    def logits(self, features: Tensor) -> Tensor:
        """Make logits (B, K) of features (B, C)."""
        made: Tensor = self.head("classes")(features.float())
        return made


def energy(logits: Tensor) -> Tensor:
    """Give the energy (B,) of logits (B, K): the lower, the more it is of some class."""
    return -logits.logsumexp(dim=1)
