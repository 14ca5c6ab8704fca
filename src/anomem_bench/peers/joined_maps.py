"""Feature maps of several stages, joined place by place on the grid of the finest."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from anomem_bench.peers.autoencoder import MapNetwork


class JoinedMaps(MapNetwork):
    """Joins maps of an encoder.

    Attributes:
        mode: How coarser maps are brought to the grid of the finest, as of ``interpolate``.
    """

    mode = "bilinear"

    @abstractmethod
    def maps(self, images: Tensor) -> list[Tensor]:
        """Make the maps that are joined, the finest first."""

    def forward(self, images: Tensor) -> Tensor:
        """Make one map (B, sum C_s, H, W) of images."""
        finest, *coarser = (each.float() for each in self.maps(images))
        size = finest.shape[2:]
        return torch.cat([finest, *(interpolate(m, size, mode=self.mode) for m in coarser)], dim=1)
