"""PatchCore: distance to a coreset of places of normal images (Roth et al., CVPR 2022)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anomem.model.encoder import Encoder
from anomem.model.place_memory import k_centre
from anomem.runtime.device import repeatable_kernels
from anomem_bench.peers.joined_maps import JoinedMaps
from anomem_bench.peers.peer import FrozenPeer

_SHARE = 0.01
_NEIGHBOURS = 9
_AT_ONCE = 16  # images


class Neighbourhoods(JoinedMaps):
    """Joins the maps of both scales of an encoder, each averaged over 3 x 3 places."""

    def maps(self, images: Tensor) -> list[Tensor]:
        """Make the maps that are joined."""
        return [functional.avg_pool2d(each, 3, 1, 1) for each in self.encoder(images)]


class PatchCore(FrozenPeer):
    """Keeps a hundredth of all places of normals; the farthest place of an image is its score.

    "Towards Total Recall in Industrial Anomaly Detection" (official code:
    amazon-science/patchcore-inspection): the places of the second and third stage, each averaged
    over its neighbourhood, of which k-centre keeps 1%; the score is the distance of the farthest
    place to the nearest one kept, weighed by how far its nine neighbours are. Departures: the
    encoder is the detector's; places are compared as they are where k-centre chooses, as a random
    projection would have more channels than they have.

    Attributes:
        bank_: (K, C), the places kept.
    """

    score_names = ("patchcore",)

    def new_network(self, encoder: Encoder) -> JoinedMaps:
        """Build what gives the places."""
        return Neighbourhoods(encoder, {})

    @repeatable_kernels()
    @torch.inference_mode()
    def finish(self) -> None:
        """Choose the places that are kept."""
        network = self.network_.eval()
        parts = [places(network(batch)).flatten(0, 1) for batch in network.batches(self._normals)]
        every = torch.cat(parts)
        first = torch.randint(len(every), (), generator=torch.Generator().manual_seed(self.seed))
        kept = k_centre(every, max(int(_SHARE * len(every)), 1), int(first))
        self.bank_ = every[kept.indices]

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the weighed distance of the farthest place."""
        parts = [places(self.network_(few)) for few in images.split(_AT_ONCE)]
        return {"patchcore": torch.cat([farthest(part, self.bank_) for part in parts]).cpu()}


def places(maps: Tensor) -> Tensor:
    """Give the places (B, H W, C) of maps (B, C, H, W)."""
    return maps.flatten(2).mT.contiguous()


def farthest(query: Tensor, bank: Tensor) -> Tensor:
    """Measure how far images are from a bank, (B,): equation 7 of the paper.

    Args:
        query: Their places, (B, P, C).
        bank: Places of normals, (K, C).
    """
    distance, nearest = torch.cdist(query, bank).min(dim=2)
    largest, where = distance.max(dim=1)
    rows = torch.arange(len(query), device=query.device)
    known = bank[nearest[rows, where]]
    around = torch.cdist(known, bank).topk(min(_NEIGHBOURS, len(bank)), largest=False).indices
    to_these = torch.cdist(query[rows, where][:, None], bank[around])[:, 0]
    return largest * (1 - to_these.softmax(dim=1)[:, 0])
