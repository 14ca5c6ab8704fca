"""Peers on an encoder that is given and stays as it is, and how they see images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from anomem.images.image_set import to_float
from anomem.model.encoder import Encoder
from anomem_bench.peers.neighbours import EveryScale, nearest

_BATCH, _PIXELS = 256, 2**20

Pixels = npt.NDArray[Any]
"""Images (N, H, W, C), uint8 or uint16."""
Values = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]


def batches(images: Pixels) -> Iterator[Tensor]:
    """Images (N, H, W, C) as batches (B, C, H, W) of floats in [0, 1], of some million pixels."""
    most = min(_BATCH, max(_PIXELS // (images.shape[1] * images.shape[2]), 1))
    return map(to_float, torch.from_numpy(images).permute(0, 3, 1, 2).split(most))


class Neighbours:
    """Cosine to the five nearest training images, on features pooled from every scale."""

    def __init__(self, encoder: Encoder) -> None:
        self.network = EveryScale(encoder, {}).eval()

    @torch.inference_mode()
    def features(self, images: Pixels) -> Tensor:
        """Directions (N, C), unit vectors."""
        return torch.cat([normalize(self.network(batch), dim=1) for batch in batches(images)])

    def fit(self, images: Pixels) -> None:
        """Keep the directions of all images."""
        self.bank = self.features(images)

    def score(self, images: Pixels) -> Values:
        """Scores (N,): minus the mean cosine to the nearest."""
        return -nearest(self.features(images), self.bank).double().numpy()

    def score_and_map(self, images: Pixels) -> tuple[Values, list[Map] | None]:
        """Scores (N,), and no maps, as what is pooled says nothing of places."""
        return self.score(images), None

    def size(self) -> int:
        """Bytes of the encoder and of the directions."""
        return self.bank.nbytes + sum(t.nbytes for t in self.network.state_dict().values())
