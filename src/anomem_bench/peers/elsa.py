"""Elsa: energy-based semi-supervised anomaly detection (Han et al., BMVC 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.images.image_set import Chosen, ImageSet
from anomem.training.draws import Chance, seeded
from anomem.training.views import random_view
from anomem_bench.peers.csi import CSI, ROTATIONS, TEMPERATURE, rotated, rotation_of

_PRETRAINING = 0.6  # of the training
_REFRESHES = 4
_PROTOTYPES = 50
_CLUSTERED = 1000  # normals
_ITERATIONS = 10


class Elsa(CSI):
    """Fine-tunes CSI by an energy: minus the likeness to prototypes of the normals.

    "Elsa: Energy-based learning for semi-supervised anomaly detection", in its stronger form with
    rotations (Elsa+). The first 60% of the training are those of CSI. Then prototypes are made by
    spherical k-means of the projections of the normals under four rotations, anew four times, and
    the energy of normals falls while that of labelled anomalies rises; the classifier of rotations
    goes on. The score is the mean energy over four rotations. Departures from the official code:
    one run in place of a thousand epochs of pretraining and up to fifty of fine-tuning with
    early stopping; one optimiser throughout, in place of LARS and Adam; batch normalisation is
    not frozen; the terms of the energy are scaled to suit SGD; one view of each image;
    prototypes are those of at most 1,000 normals; the temperature divides at test time too; the
    ensemble of ten random crops at test time is the image and its mirror image.

    Attributes:
        prototypes_: Unit vectors (K, 128), of the network as it is after the training.
    """

    score_names = ("elsa",)

    needs_anomalies = True

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Take that of CSI on normals; from 60% of the training on, that of the energy on all."""
        if self.done_ < _PRETRAINING:
            self._refresh = -1
            return super().loss(network, images, label, chance)
        refresh = int((self.done_ - _PRETRAINING) / (1 - _PRETRAINING) * _REFRESHES)
        if refresh != self._refresh:
            self._refresh, self._prototypes = refresh, self._clustered(self._normals)
        copies = images.repeat(ROTATIONS, 1, 1, 1)
        features = network(rotated(random_view(copies, self.config.views, chance))).float()
        pulled = energy(self.head("projection")(features), self._prototypes)
        logits, labels = self.head("rotation")(features), label.repeat(ROTATIONS)
        rotation = rotation_of(len(copies), logits)
        return energy_loss(pulled, labels, len(self._prototypes)) + functional.cross_entropy(
            logits[labels == 0], rotation[labels == 0]
        )

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the mean energy over four rotations."""
        projection, _ = self.project(images)
        return {"elsa": energy(projection, self.prototypes_).mean(dim=0).cpu()}

    def settle(self, normals: ImageSet) -> None:
        """Make the prototypes of the score, and leave those of the training as they are."""
        self.prototypes_ = self._clustered(normals)

    @torch.no_grad()
    def _clustered(self, normals: ImageSet) -> Tensor:
        """Prototypes of training normals, by the network as it is."""
        training = self.network_.training
        self.network_.eval()
        chosen = Chosen.of(normals).spread(_CLUSTERED)
        points = [self.project(b)[0].flatten(0, 1) for b in self.network_.batches(chosen)]
        self.network_.train(training)
        return spherical_kmeans(torch.cat(points), _PROTOTYPES, seeded(self.seed, 0))


def energy(projection: Tensor, prototypes: Tensor) -> Tensor:
    """Take minus the log of the summed exponentials of cosines to prototypes over a temperature.

    Args:
        projection: (..., C).
        prototypes: Unit vectors (K, C).

    Returns:
        (...), from ``-log K - 2`` to ``-log K + 2`` at the temperature of 0.5.
    """
    cosine = functional.normalize(projection, dim=-1) @ prototypes.T
    return -(cosine / TEMPERATURE).logsumexp(dim=-1)


def energy_loss(energy: Tensor, label: Tensor, prototypes: int) -> Tensor:
    """Take one over minus the energy of normals, one over an anomaly's height above the floor.

    SGD follows the scale of a loss where the Adam of the official code does not, so each term has
    a slope of one at its place: that of normals at the floor, that of anomalies at right angles to
    all prototypes. On one scale for both, the few anomalies draw all projections into one point.

    Args:
        energy: (B,).
        label: (B,), 0 normal, 1 anomalous.
        prototypes: K, which gives the floor ``-log K - 1 / temperature``; at least 8, as otherwise
            the energy of normals may be positive.

    Returns:
        Scalar, the mean.
    """
    floor = -math.log(prototypes) - 1 / TEMPERATURE
    anomalous = label == 1
    slope = torch.where(anomalous, TEMPERATURE**-2, floor**2)
    return (slope / torch.where(anomalous, energy - floor, -energy)).mean()


def spherical_kmeans(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Cluster directions by cosine, from some of them at random.

    Args:
        points: (N, C), of any length.
        count: Clusters; at most N are made.
        generator: On the CPU.

    Returns:
        The mean direction of each cluster, unit vectors (K, C).
    """
    directions = functional.normalize(points, dim=1)
    start = torch.randperm(len(points), generator=generator)[:count]
    centres = directions[start.to(points.device)]
    for _ in range(_ITERATIONS):
        nearest = (directions @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, directions)
        empty = nearest.bincount(minlength=len(centres)) == 0
        centres = torch.where(empty[:, None], centres, functional.normalize(sums, dim=1))
    return centres
