"""PaDiM: a Gaussian at each place of an image (Defard et al., ICPR 2021)."""

from __future__ import annotations

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import interpolate

from anomem.model.encoder import Encoder
from anomem.runtime.device import repeatable_kernels
from anomem_bench.peers.joined_maps import JoinedMaps
from anomem_bench.peers.peer import FrozenPeer

_CHANNELS = 100
_RIDGE = 0.01
_BLUR = 4.0  # pixels


class FineMaps(JoinedMaps):
    """Joins the maps of both scales of an encoder and of the stage before them."""

    mode = "nearest"

    def maps(self, images: Tensor) -> list[Tensor]:
        """Make the maps that are joined."""
        return self.encoder.every_map(images)


class PaDiM(FrozenPeer):
    """Measures each place by the Gaussian of the normals there; the largest distance counts.

    "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization": 100
    channels drawn at random of three stages, their mean and covariance (plus .01 on its diagonal)
    at each place, Mahalanobis distances brought to the size of the image and blurred by 4 pixels.
    Departure from the paper: the encoder is the detector's.

    Attributes:
        channels_: (100,) int64, those drawn.
        mean_: (P, 100).
        inverse_: (P, 100, 100), inverse covariance.
    """

    score_names = ("padim",)

    def new_network(self, encoder: Encoder) -> JoinedMaps:
        """Build what gives the places."""
        return FineMaps(encoder, {})

    @repeatable_kernels()
    @torch.inference_mode()
    def finish(self) -> None:
        """Measure mean and covariance at each place."""
        network = self.network_.eval()
        drawn = torch.randperm(
            sum(network.encoder.every_width), generator=torch.Generator().manual_seed(self.seed)
        )
        self.channels_ = drawn[:_CHANNELS].to(network.encoder.mean.device)
        total, products = torch.zeros(()), torch.zeros(())
        for batch in network.batches(self._normals):
            places = self._places(network(batch)).double()
            total = total + places.sum(dim=1)
            products = products + places.mT @ places
        count, mean = len(self._normals), total / len(self._normals)
        spread = products - count * mean[:, :, None] * mean[:, None]
        ridge = _RIDGE * torch.eye(mean.shape[1], device=mean.device)
        self.mean_ = mean.float()
        self.inverse_ = torch.linalg.inv(spread / max(count - 1, 1) + ridge).float()

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the largest of the blurred distances."""
        maps = self.network_(images)
        offset = self._places(maps) - self.mean_[:, None]
        squared = ((offset @ self.inverse_) * offset).sum(dim=2).T
        distance = squared.clamp(min=0).sqrt().unflatten(1, maps.shape[2:])[:, None]
        whole = interpolate(distance, images.shape[2:], mode="bilinear")[:, 0].cpu().numpy()
        blurred = gaussian_filter(whole, _BLUR, mode="mirror", axes=(1, 2))
        return {"padim": torch.from_numpy(blurred.max(axis=(1, 2)))}

    def _places(self, maps: Tensor) -> Tensor:
        """Give the drawn channels of maps (B, C, H, W) by place, (H W, B, 100)."""
        return maps[:, self.channels_].flatten(2).permute(2, 0, 1)
