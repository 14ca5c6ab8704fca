"""Nearest neighbours on the features of an encoder that is not trained further."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from anomem.images.image_set import ImageSet
from anomem.model.encoder import Encoder
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.peer import FrozenPeer, PeerNetwork

_NEIGHBOURS = 5


class EveryScale(PeerNetwork):
    """Averages all feature maps of an encoder over their places."""

    def forward(self, images: Tensor) -> Tensor:
        """Make features (B, sum C_s) of images (B, C, H, W) in [0, 1]."""
        return torch.cat([features.mean(dim=(2, 3)) for features in self.encoder(images)], dim=1)


class Neighbours(FrozenPeer):
    """Takes the cosine to the five nearest training normals, on features pooled from every scale.

    The plain use of a pretrained encoder (as DN2, Bergman et al., 2020). The score is minus the
    mean cosine to the normals; with labelled anomalies, the mean cosine to the five nearest of
    them is added.
    """

    score_names = ("neighbours",)
    uses_anomalies = True

    def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:
        """Take the encoder as it is, and keep the anomalies to measure them later."""
        self._anomalies = images.anomalies
        return super().begin(images, clock)

    def finish(self) -> None:
        """Keep the features of all training images."""
        self.network_.eval()
        self.normal_ = self._directions(self._normals)
        self.anomalous_ = None if self._anomalies is None else self._directions(self._anomalies)

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """Build the encoder, pooled at every scale."""
        return EveryScale(encoder, {})

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the likeness to anomalies, if there are any, minus the likeness to normals."""
        directions = normalize(self.network_(images).cpu(), dim=1)
        score = -nearest(directions, self.normal_)
        if self.anomalous_ is not None:
            score = score + nearest(directions, self.anomalous_)
        return {"neighbours": score}

    def _directions(self, images: ImageSet) -> Tensor:
        return normalize(self.features(images), dim=1)


def nearest(directions: Tensor, known: Tensor) -> Tensor:
    """Average the cosine (B,) of unit vectors (B, C) to the five nearest of (N, C), N above 0."""
    cosine = directions @ known.T
    return cosine.topk(min(_NEIGHBOURS, len(known)), dim=1).values.mean(dim=1)
