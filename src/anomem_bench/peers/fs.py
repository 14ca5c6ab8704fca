"""FS: features of each class on a one-dimensional subspace (Zaeemzadeh et al., CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from anomem.images.image_set import ImageSet
from anomem_bench.peers.classifier import Classifier

_SCALE = 10.0


class FS(Classifier):
    """Draws each class onto an axis of its own; the score is the angle to the nearest axis.

    "Out-of-Distribution Detection Using Union of 1-Dimensional Subspaces" (official code:
    zaeemzadeh/OOD). The logit of a class is the absolute cosine between the features and a fixed
    axis, one of an orthonormal set (cosine softmax). The score is the angle, in [0, pi / 2], to the
    first singular vector of the features of the training normals of a class, the least over the
    classes. Departures from the official code: cosines are multiplied by 10, without which the
    softmax is never sure and learns too slowly for a small budget; features are the detector's, of
    a ReLU and never negative; there is no dropout, so the least angle over fifty passes with
    dropout is that of one; encoder, views and optimiser are the detector's.

    Attributes:
        axes_: First singular vector of each class, (K, C), of unit length.
    """

    score_names = ("fs",)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Draw the axes at random, and leave them so."""
        axes = nn.Linear(width, len(self.known_), bias=False)
        nn.init.orthogonal_(axes.weight)
        return {"axes": axes.requires_grad_(False)}

    def logits(self, features: Tensor) -> Tensor:
        """Give the scaled absolute cosines (B, K) of features (B, C) to the axes of the classes."""
        cosine: Tensor = self.head("axes")(normalize(features.float(), dim=1))
        return _SCALE * cosine.abs()

    def settle(self, normals: ImageSet) -> None:
        """Find the axis of each class among the features of the training normals."""
        features, kinds = self.features(normals), torch.from_numpy(self._class)
        self.axes_ = torch.stack(
            [first_singular_vector(features[kinds == k]) for k in range(len(self.known_))]
        )

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the least angle to the axis of a class."""
        directions = normalize(self.network_(images).float().cpu(), dim=1)
        cosine = (directions @ self.axes_.T).abs().amax(dim=1)
        return {"fs": cosine.clamp(max=1).arccos()}


def first_singular_vector(features: Tensor) -> Tensor:
    """Give the direction (C,) along which features (N, C), not centred, are largest."""
    # An eigenvector of the small matrix of products, where images are many and channels few.
    _, vectors = torch.linalg.eigh(features.double().T @ features.double())
    return vectors[:, -1].float()
