"""SimCLR features of normals, and the one-class scores that are read off them."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn
from torch.nn.functional import normalize

from anomem.images.image_set import ImageSet
from anomem.training.draws import Chance
from anomem.training.losses import contrasted_memory_loss
from anomem.training.views import random_view
from anomem_bench.peers.neighbours import nearest
from anomem_bench.peers.peer import TrainedPeer

_TEMPERATURE = 0.5
_PROJECTED = 128
_CLUSTERS = 10


class SimCLR(TrainedPeer):
    """Contrasts two views of each normal; scores by where an image lies among the normals.

    Training is "A Simple Framework for Contrastive Learning of Visual Representations" (Chen et
    al., ICML 2020). The features before the projection head, at unit length, give three scores:

    - "simclr-knn": mean cosine distance to the 5 nearest training normals;
    - "simclr-kmeans": cosine distance to the nearest of 10 k-means centroids;
    - "simclr-mahalanobis": squared Mahalanobis distance to the training normals as one cluster
      (SSD: "A Unified Framework for Self-Supervised Outlier Detection", Sehwag et al., ICLR 2021).

    Departures from the official code: views and optimiser are the detector's (SGD in place of
    LARS, crops and jitter as configured); no batch normalisation in the head; k-means is that of
    scikit-learn on the unit sphere, its centroids put back on the sphere at the end and not at
    each step; SSD's covariance is shrunk (Ledoit and Wolf) so that few normals suffice, and the
    channels are not standardised before. Labelled anomalies are not used.

    Attributes:
        bank_: Features of the training normals at unit length, (N, C).
        centroids_: Of the clusters, at unit length, (10, C), fewer where there are fewer normals.
        mean_: Of the bank, (C,).
        precision_: Inverse of its shrunk covariance, (C, C).
    """

    score_names = ("simclr-knn", "simclr-kmeans", "simclr-mahalanobis")

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build the projection head, of two layers."""
        return {"projection": projection_head(width)}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Contrast two views of each normal (NT-Xent)."""
        normals = images[label == 0]
        views = torch.cat([random_view(normals, self.config.views, chance) for _ in range(2)])
        first, second = self.head("projection")(network(views).float()).chunk(2)
        # A memory that recalls every query as it is leaves NT-Xent: each of the 2B rows is an
        # anchor, its other view the positive, all other rows negatives.
        return contrasted_memory_loss(first, second, normals=len(first), temperature=_TEMPERATURE)

    def settle(self, normals: ImageSet) -> None:
        """Keep the features of the normals, their centroids, and their mean and precision."""
        self.bank_ = normalize(self.features(normals), dim=1)
        points = self.bank_.double().numpy()
        clusters = KMeans(min(_CLUSTERS, len(points)), n_init=10, random_state=self.seed)
        self.centroids_ = normalize(_tensor(clusters.fit(points).cluster_centers_), dim=1)
        gaussian = LedoitWolf().fit(points)
        self.mean_, self.precision_ = _tensor(gaussian.location_), _tensor(gaussian.precision_)

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the three scores, that of the nearest neighbours first."""
        unit = normalize(self.network_(images).float().cpu(), dim=1)
        double = unit.double()
        offset = double - self.mean_
        return {
            "simclr-knn": 1 - nearest(unit, self.bank_),
            "simclr-kmeans": (1 - (double @ self.centroids_.T).amax(dim=1)).float(),
            "simclr-mahalanobis": ((offset @ self.precision_) * offset).sum(dim=1).float(),
        }


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(values)


def projection_head(width: int) -> nn.Module:
    """Build a projection head of two layers, from features of so many channels to 128."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _PROJECTED))
