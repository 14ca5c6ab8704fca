"""DeepSAD: a hypersphere about the normals that labelled anomalies are kept out of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomem.images.image_set import ImageSet
from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.peer import TrainedPeer

_DIMENSIONS = 32
_ETA = 1.0
_EPSILON = 1e-6
_LEAST_COORDINATE = 0.1


class Hypersphere(nn.Module):
    """Measures the squared distance from a centre in a linear space without bias.

    Args:
        width: Channels of the features.

    Attributes:
        centre: (32,), NaN until it is placed.
    """

    centre: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, _DIMENSIONS, bias=False)
        self.register_buffer("centre", torch.full((_DIMENSIONS,), torch.nan))

    def forward(self, features: Tensor) -> Tensor:
        """Measure the squared distance (B,) of features (B, C)."""
        squared: Tensor = (self.linear(features) - self.centre).square().sum(dim=1)
        return squared

    @torch.no_grad()
    def centre_on(self, features: Tensor) -> None:
        """Put the centre at the mean of features (N, C), no coordinate of it near zero.

        A coordinate of zero could be met by weights of zero, whatever the image.
        """
        mean = self.linear(features).mean(dim=0)
        away = torch.where(mean < 0, -_LEAST_COORDINATE, _LEAST_COORDINATE)
        self.centre.copy_(torch.where(mean.abs() < _LEAST_COORDINATE, away, mean))


class DeepSAD(TrainedPeer):
    """Pulls normals to a centre, pushes labelled anomalies from it; the score is the distance.

    "Deep Semi-Supervised Anomaly Detection" (Ruff et al., ICLR 2020), with eta = 1; without
    labelled anomalies it is Deep SVDD (ICML 2018). Departures from the official code: no
    pretraining as an autoencoder; the encoder keeps the biases of its normalisation; it trains on
    one view of each image, and with the detector's optimiser in place of Adam, at a tenth of its
    learning rate, as squared distances have no bound and diverge at the whole of it; there are no
    unlabelled images, as all training images are normal.

    Attributes:
        centre_: Centre of the hypersphere, (32,).
    """

    score_names = ("deepsad",)
    rate = 0.1
    uses_anomalies = True

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build the hypersphere."""
        return {"sphere": Hypersphere(width)}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Add squared distances of normals and inverse squared distances of anomalies."""
        sphere = self._sphere()
        if sphere.centre.isnan().any():
            # Before training, only the statistics of a batch tell what normalised features are.
            sphere.centre_on(self.features(self._normals).to(sphere.centre.device))
            self.centre_ = sphere.centre.clone()
        return semi_supervised_loss(
            sphere(network(random_view(images, self.config.views, chance)).float()), label
        )

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the squared distance from the centre."""
        return {"deepsad": self._sphere()(self.network_(images).float()).cpu()}

    def settle(self, normals: ImageSet) -> None:  # noqa: ARG002 - the centre needs none
        """Put the centre, which is no weight to be averaged, where it was."""
        self._sphere().centre.copy_(self.centre_)

    def _sphere(self) -> Hypersphere:
        sphere = self.head("sphere")
        assert isinstance(sphere, Hypersphere)
        return sphere


def semi_supervised_loss(squared: Tensor, label: Tensor) -> Tensor:
    """Average the squared distance of normals, and eta over that of anomalies.

    Args:
        squared: Squared distance from the centre, (B,).
        label: (B,), 0 normal, 1 anomalous.

    Returns:
        Scalar.
    """
    return torch.where(label == 0, squared, _ETA / (squared + _EPSILON)).mean()
