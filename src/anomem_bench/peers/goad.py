"""GOAD: classification-based anomaly detection by distances (Bergman and Hoshen, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.config import Config
from anomem.images.image_set import Chosen, ImageSet
from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.mhrot import shifted
from anomem_bench.peers.peer import TrainedPeer

_TURNS, _SHIFTS = 4, 9
TRANSFORMATIONS = 2 * _TURNS * _SHIFTS
"""The image and its mirror image, each turned by 0 to 270 degrees, each shifted to nine places."""
_SCORED = (*range(0, TRANSFORMATIONS, _SHIFTS), *range(1, _SHIFTS))
"""Every turn of both where it is, and every shift of the upright image."""
_IMAGES = 4
_MARGIN, _TRIPLET = 1.0, 0.1
_MEASURED = 100  # normals
_AT_ONCE = 32  # images


class GOAD(TrainedPeer):
    """Learns a space where each transformation has its cluster; anomalies lie far from theirs.

    "Classification-Based Anomaly Detection for General Data", of images with the 72
    transformations of Golan and El-Yaniv (mirror image, four rotations, shifts by a quarter along
    both axes): cross-entropy of the transformation and .1 of the centre-triplet loss
    (:func:`centre_triplet_loss`) at a margin of 1, as the official code (github.com/lironber/GOAD)
    has them. The score is minus the mean log-probability of what was done, from the squared
    distances to all 72 centres. As there, the space is that of the encoder's features, and a step
    takes four images with all their transformations. Departures from the official code: the length
    of the features is not penalised, as under SGD that draws all of them into one point before they
    have parted; images are seen in views of the detector, without its mirror images, as these are a
    transformation; at test time 16 of the transformations are scored (all turns, and the shifts of
    the upright image); centres are means over at most 100 normals after the training, and not over
    features as they were during it; the detector's optimiser stands in place of Adam. Labelled
    anomalies are not used.

    Attributes:
        centres_: Mean feature of each transformation over training normals, (72, C).
    """

    score_names = ("goad",)

    def __init__(
        self, config: str | Config = "scratch", *, device: str = "auto", seed: int = 0
    ) -> None:
        super().__init__(config, device=device, seed=seed)
        self.config = replace(self.config, views=replace(self.config.views, flip=False))

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build the classifier of transformations."""
        return {"transformation": nn.Linear(width, TRANSFORMATIONS)}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Add both terms on all transformations of the first four normals."""
        view = random_view(images[label == 0][:_IMAGES], self.config.views, chance)
        features = network(transformed(view, range(TRANSFORMATIONS))).float()
        logits = self.head("transformation")(features)
        done = torch.arange(TRANSFORMATIONS, device=logits.device).repeat_interleave(len(view))
        places = features.unflatten(0, (TRANSFORMATIONS, -1))
        triplet = centre_triplet_loss(places, _MARGIN)
        return functional.cross_entropy(logits, done) + _TRIPLET * triplet

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give minus the mean log-probability of 16 transformations, by distances to centres."""
        scores = []
        for few in images.split(_AT_ONCE):
            squared = squared_distances(self._places(few, _SCORED), self.centres_)
            likely = (-squared).log_softmax(dim=2)
            right = torch.stack([likely[row, :, k] for row, k in enumerate(_SCORED)])
            scores.append(-right.mean(dim=0).cpu())
        return {"goad": torch.cat(scores)}

    @torch.inference_mode()
    def settle(self, normals: ImageSet) -> None:
        """Put the centre of each transformation at the mean over training normals."""
        chosen = Chosen.of(normals).spread(_MEASURED)
        places = [
            self._places(few, range(TRANSFORMATIONS))
            for batch in self.network_.batches(chosen)
            for few in batch.split(_AT_ONCE)
        ]
        self.centres_ = torch.cat(places, dim=1).mean(dim=1)

    def _places(self, images: Tensor, which: Sequence[int]) -> Tensor:
        """Give the features (T, B, C) of images under some transformations."""
        features: Tensor = self.network_(transformed(images, which)).float()
        return features.unflatten(0, (len(which), -1))


def transformed(images: Tensor, which: Sequence[int]) -> Tensor:
    """Transform images (B, C, H, W) by each of some transformations, (T B, C, H, W).

    Args:
        images: Squares.
        which: Numbers below 72, a shift in nine counting fastest and the mirror image slowest.
    """
    sides = (images, images.flip(3))
    turned = [torch.rot90(side, turn, dims=(2, 3)) for side in sides for turn in range(_TURNS)]
    shift = torch.tensor(which, device=images.device).repeat_interleave(len(images)) % _SHIFTS
    return shifted(torch.cat([turned[k // _SHIFTS] for k in which]), shift // 3, shift % 3)


def squared_distances(places: Tensor, centres: Tensor) -> Tensor:
    """Measure the squared distance (T, B, K) of places (T, B, C) to centres (K, C)."""
    return (places[:, :, None] - centres).square().sum(dim=3)


def centre_triplet_loss(places: Tensor, margin: float) -> Tensor:
    """Ask that each image be nearer to the centre of its transformation than to any other.

    Args:
        places: Features of B images under T transformations, (T, B, C); centres are their means.
        margin: By how much the squared distance to the nearest other centre is to be larger.

    Returns:
        Scalar, the mean of what is missing.
    """
    squared = squared_distances(places, places.mean(dim=1))
    own = squared.diagonal(dim1=0, dim2=2).T
    others = torch.eye(len(places), device=places.device, dtype=torch.bool)[:, None]
    nearest = squared.masked_fill(others, torch.inf).amin(dim=2)
    return functional.relu(own + margin - nearest).mean()
