"""PatchCore and PaDiM of anomalib on an encoder that is given.

Anomalib takes eight seconds to import and may not be there (``pip install -r
benchmarks/requirements.txt``), so it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anomem.model.encoder import Encoder
from anomem.model.place_memory import k_centre
from frozen import Map, Pixels, Values, batches

LAYERS = ("layer2", "layer3")
_SMALL = {"backbone": "resnet10t", "layers": LAYERS, "pre_trained": False}
"""What anomalib builds before the encoder takes its place."""
_PADIM_FEATURES = 100
"""Channels drawn at random, as many as anomalib's PaDiM takes of a ResNet-18."""

Choose = Callable[[Tensor, float], Tensor]


class Plugged(nn.Module):
    """An encoder in the place of anomalib's feature extractor.

    Args:
        encoder: The encoder.
        finer: Whether the maps are those of the stage before its first scale and of that scale,
            and not those of its two scales.
    """

    def __init__(self, encoder: Encoder, finer: bool) -> None:
        super().__init__()
        self.encoder, self.finer = encoder, finer

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps by layer; as anomalib's, in evaluation mode whatever is asked for."""
        encoder = self.encoder.eval()
        maps = encoder.every_map(images)[:2] if self.finer else encoder(images)
        return dict(zip(LAYERS, maps, strict=True))


class _AnomalibModel:
    """A model of anomalib that gives an image a score and a map.

    Attributes:
        model: Of anomalib, with the encoder plugged in.
    """

    model: Any

    def score(self, images: Pixels) -> Values:
        """Scores (N,)."""
        return self.score_and_map(images)[0]

    @torch.inference_mode()
    def score_and_map(self, images: Pixels) -> tuple[Values, list[Map] | None]:
        """Scores (N,), and anomaly maps, H x W each, from the same pass."""
        found = [self.model(batch) for batch in batches(images)]
        scores = torch.cat([each.pred_score for each in found]).double().numpy()
        return scores, [heat.numpy() for each in found for heat in each.anomaly_map[:, 0]]

    def size(self) -> int:
        """Bytes of the encoder and of what is learnt."""
        return sum(tensor.nbytes for tensor in self.model.state_dict().values())

    @torch.inference_mode()
    def _see(self, images: Pixels) -> None:
        """Let the model keep the features of all training images."""
        self.model.train()
        for batch in batches(images):
            self.model(batch)
        self.model.eval()


class PatchCore(_AnomalibModel):
    """PatchCore (Roth et al., 2022).

    Args:
        encoder: Gives the maps of two stages.
        share: Of the places, how many are kept.
        choose: Keeps a share of the places (N, C).
        finer: As of :class:`Plugged`.
    """

    def __init__(
        self, encoder: Encoder, share: float, choose: Choose, *, finer: bool = False
    ) -> None:
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel

        self.model = PatchcoreModel(**_SMALL)
        self.model.feature_extractor = Plugged(encoder, finer)
        self.share, self.choose = share, choose

    @torch.inference_mode()
    def fit(self, images: Pixels) -> None:
        """Features of all places, and a share of them."""
        self._see(images)
        places = torch.cat(self.model.embedding_store)
        self.model.embedding_store.clear()
        self.model.memory_bank = self.choose(places, self.share)


def greedy(places: Tensor, share: float) -> Tensor:
    """A coreset as anomalib chooses it."""
    from anomalib.models.components import KCenterGreedy

    chosen: Tensor = KCenterGreedy(places, share).sample_coreset()
    return chosen


def greedy_in_less_time(places: Tensor, share: float) -> Tensor:
    """A coreset by the same rule, in a fraction of the time."""
    return places[coreset(places, share)]


def coreset(places: Tensor, share: float) -> Tensor:
    """Which places the rule chooses, their indices."""
    from anomalib.models.components import KCenterGreedy

    sampler = KCenterGreedy(places, share)
    sampler.model.fit(places)
    features = sampler.model.transform(places)
    first = int(torch.randint(len(places), (1,)))
    return k_centre(features, sampler.coreset_size, first).indices


def at_random(places: Tensor, share: float) -> Tensor:
    """As many places, any of them."""
    return places[torch.randperm(len(places))[: int(share * len(places))]]


class Padim(_AnomalibModel):
    """PaDiM (Defard et al., 2021), on the finer maps of an encoder."""

    def __init__(self, encoder: Encoder) -> None:
        from anomalib.models.image.padim.torch_model import PadimModel

        channels = sum(maps.shape[1] for maps in encoder.every_map(_any_image(encoder))[:2])
        self.model = PadimModel(n_features=_PADIM_FEATURES, **_SMALL)
        self.model.feature_extractor = Plugged(encoder, finer=True)
        self.model.idx = torch.randperm(channels)[:_PADIM_FEATURES]

    def fit(self, images: Pixels) -> None:
        """A Gaussian at each place."""
        self._see(images)
        self.model.fit()


def _any_image(encoder: Encoder) -> Tensor:
    return torch.zeros(1, len(encoder.mean), 64, 64)
