"""From images to deviation maps: the encoder and one memory a scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.config import Config, MemoryChoices
from anomem.model.encoder import Encoder
from anomem.model.memory import HopfieldMemory
from anomem.model.one_class import DeviatingPlaces, most_deviating, one_class_scores, place_norms
from anomem.model.place_memory import PlaceMemory, neighbourhoods


@dataclass(frozen=True)
class View:
    """Names one of the forward passes that an image takes, and finds the way back to its places."""

    turned: bool
    mirrored: bool

    def of(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) as this view has them."""
        sided = images.flip(3) if self.mirrored else images
        return sided.rot90(2, dims=(2, 3)) if self.turned else sided

    def undone(self, places: Tensor) -> Tensor:
        """Turn a map (..., H, W) of this view back, as it lies on the image."""
        upright = places.rot90(2, dims=(-2, -1)) if self.turned else places
        return upright.flip(-1) if self.mirrored else upright


class MultiScaleMemory(nn.Module):
    """Joins the encoder and the Hopfield memory of each of its scales: what stage 1 trains.

    Beside the memories, linear heads at every scale tell apart the kinds of images in a batch
    (normal, labelled anomaly, each kind of pseudo-anomaly) where ``loss.kind_weight`` is above 0,
    and the places of a pasted patch from all others where ``loss.patch_weight`` is.

    Where prototypes are places of normal images, nothing is trained, and each memory reads
    neighbourhoods (:func:`~anomem.model.place_memory.neighbourhoods`) in place of feature maps.

    Args:
        config: Choices of the encoder and of the memories.
        channels: Channels of the images, 1 or 3.
        initialise: See :class:`~anomem.model.encoder.Encoder`.
        sizes: Prototypes at each scale, where memories of places have taken in more than is chosen
            in ``config.memory.sizes``.

    Attributes:
        of_places: Prototypes are places of normal images.
        lambdas: Weight of each scale, shallow to deep.
        widths: Channels of the deviations of each scale.
        direction_width: Channels of the direction of the whole image, 0 where it has none.
        mirrored: An image is seen together with its mirror image.
        upside_down: An image is seen upside down too.
        with_spread: Of deviations, the standard deviation over places is pooled beside the mean.
    """

    def __init__(
        self,
        config: Config,
        channels: int = 3,
        *,
        initialise: bool = True,
        sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(
            config.encoder,
            channels,
            initialise=initialise,
            channels_last=config.compute.channels_last,
        )
        self.of_places = config.memory.prototypes == "places"
        self.lambdas = config.loss.lambdas
        widths = self.encoder.widths
        if self.of_places:
            widths = tuple(map(sum, pairwise(self.encoder.every_width)))
        self.memories = nn.ModuleList(
            _memory(config.memory, size, width)
            for size, width in zip(sizes or config.memory.sizes, widths, strict=True)
        )
        self.direction_width = widths[-1] if self.of_places else 0
        self.widths = tuple(memory.prototypes.shape[1] for memory in self.scale_memories())
        self.mirrored = config.score.mirror and config.views.flip
        self.upside_down = config.score.upside_down and "rotate180" in config.pseudo.kinds
        self.with_spread = config.score.mahalanobis or self.of_places
        classes = 2 + len(config.pseudo.kinds)
        self.kind_heads = nn.ModuleList(
            nn.Linear(width, classes) for width in self.widths if config.loss.kind_weight > 0
        )
        self.patch_heads = nn.ModuleList(
            nn.Linear(width, 1) for width in self.widths if config.loss.patch_weight > 0
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Make the maps (B, C_s, H_s, W_s) that memories read of images (B, C, H, W) in [0, 1]."""
        if self.of_places:
            return neighbourhoods(self.encoder.every_map(images))
        maps: list[Tensor] = self.encoder(images)
        return maps

    def maps_of(self, every: Sequence[Tensor]) -> list[Tensor]:
        """Take from all maps of the encoder those that memories read."""
        return neighbourhoods(every) if self.of_places else list(every[self.encoder.finer :])

    def direction(self, maps: Sequence[Tensor]) -> Tensor:
        """Give the direction of whole images, (B, direction_width), by the maps that memories read.

        It is the mean of the deepest map over its places, at unit length.
        """
        pooled = maps[-1].float().mean(dim=(2, 3))
        return functional.normalize(pooled, dim=1)

    @property
    def views(self) -> list[View]:
        """Name the views of an image: upright, mirrored, and both upside down, as chosen."""
        return [
            View(turned, mirrored)
            for turned in (False, True)[: 1 + self.upside_down]
            for mirrored in (False, True)[: 1 + self.mirrored]
        ]

    @property
    def pooled_widths(self) -> tuple[int, ...]:
        """Give the length of what is pooled of the deviations at each scale."""
        parts = (2 if self.upside_down else 1) * (1 + self.with_spread + self.of_places)
        return tuple(parts * width for width in self.widths)

    @property
    def kept_width(self) -> int:
        """Give the length of all that features hold of an image: what is pooled, the direction."""
        return sum(self.pooled_widths) + self.direction_width

    def pooled(
        self,
        deviations: Sequence[Tensor],
        inside: Tensor | None = None,
        distances: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Pool each deviation map (B, C_s, H_s, W_s) over its places: phi of Eq. 7.

        Args:
            deviations: A map each scale.
            inside: Where the places that deviate most may lie, see
                :class:`~anomem.model.one_class.DeviatingPlaces`.
            distances: As of :meth:`relative_distances`, where they are known.

        Returns:
            One (B, C_s) a scale, the mean; or (B, 2 C_s), with the standard deviation behind it; or
            of memories of places (B, 3 C_s), with the mean over the places that deviate most behind
            both.
        """
        places = [deviation.permute(0, 2, 3, 1).flatten(1, 2) for deviation in deviations]
        pools = [each.mean(dim=1) for each in places]
        if not self.with_spread:
            return pools
        # Ten times faster on a CPU than Tensor.std; without a gradient where there is no spread.
        spreads = [
            (each - pool[:, None]).square_().mean(dim=1).sqrt()
            for each, pool in zip(places, pools, strict=True)
        ]
        parts = [pools, spreads]
        if self.of_places:
            most = self.deviating_places(deviations, inside, distances)
            parts.append([most.mean(each) for each in deviations])
        return [torch.cat(scale, 1) for scale in zip(*parts, strict=True)]

    def scale_memories(self) -> Iterator[HopfieldMemory | PlaceMemory]:
        """Give the memories, shallow to deep."""
        for memory in self.memories:
            assert isinstance(memory, HopfieldMemory | PlaceMemory)
            yield memory

    def hopfield_memories(self) -> list[HopfieldMemory]:
        """Give the memories whose prototypes are learnt, shallow to deep."""
        return [memory for memory in self.scale_memories() if isinstance(memory, HopfieldMemory)]

    def place_memories(self) -> list[PlaceMemory]:
        """Give the memories whose prototypes are places, shallow to deep."""
        return [memory for memory in self.scale_memories() if isinstance(memory, PlaceMemory)]

    def deviation_maps(self, images: Tensor) -> list[Tensor]:
        """Make the deviation map of each scale (Eq. 5), (B, C_s, H_s, W_s) in float32."""
        return self.deviations_of(self(images))

    def deviations_of(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Make the deviation maps of feature maps."""
        return [
            memory.deviation(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for memory, features in zip(self.scale_memories(), maps, strict=True)
        ]

    def scale_scores(
        self, deviations: Sequence[Tensor], distances: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Score each scale without further training, (B, S): the norm of its deviation map (Eq. 6).

        Of memories of places it is the relative distance at the places that deviate most
        (:func:`~anomem.model.one_class.most_deviating`).

        Args:
            deviations: A map each scale.
            distances: As of :meth:`relative_distances`, where they are known.
        """
        if not self.of_places:
            return one_class_scores(deviations)
        return most_deviating(distances or self.relative_distances(deviations), self.lambdas)

    def deviating_places(
        self,
        deviations: Sequence[Tensor],
        inside: Tensor | None = None,
        distances: Sequence[Tensor] | None = None,
    ) -> DeviatingPlaces:
        """Find the places of each image that deviate most, by memories of places."""
        known = distances or self.relative_distances(deviations)
        return DeviatingPlaces.of(known, self.lambdas, inside)

    def relative_distances(self, deviations: Sequence[Tensor]) -> list[Tensor]:
        """Divide the distance at each place, (B, H_s, W_s), by its mean over held-out normals.

        None of learnt memories, whose distances have no such mean.
        """
        return [
            place_norms(deviation) / memory.level
            for deviation, memory in zip(deviations, self.place_memories(), strict=self.of_places)
        ]

    def patch_odds(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Give the log-odds of a pasted patch at each place, (B, H_s, W_s) a scale with a head."""
        heads = list(self.patch_heads)
        return [
            head(z.permute(0, 2, 3, 1))[..., 0]
            for head, z in zip(heads, maps[: len(heads)], strict=True)
        ]

    def evidence_of(self, maps: Sequence[Tensor]) -> Tensor:
        """Give the log-odds of a labelled anomaly against a normal at each scale, (B, S).

        Each image by itself: a product of matrices is rounded by what lies beside it.
        """
        if len(self.kind_heads) == 0:
            return torch.zeros(maps[0].shape[0], len(maps), device=maps[0].device)
        odds = []
        for features, head in zip(maps, self.kind_heads, strict=True):
            assert isinstance(head, nn.Linear)
            weight, bias = head.weight[1] - head.weight[0], head.bias[1] - head.bias[0]
            odds.append((features.float().mean(dim=(2, 3)) * weight).sum(dim=1) + bias)
        return torch.stack(odds, 1)

    def evidence_map(self, features: Tensor, scale: int) -> Tensor:
        """Give the same at each place of a feature map (B, C_s, H_s, W_s), (B, H_s, W_s).

        The heads are linear, so that the log-odds of the mean are the mean of the log-odds.
        """
        if len(self.kind_heads) == 0:
            return torch.zeros_like(features[:, 0], dtype=torch.float32)
        logits = self.kind_heads[scale](features.permute(0, 2, 3, 1).float())
        return logits[..., 1] - logits[..., 0]


def _memory(choices: MemoryChoices, size: int, width: int) -> HopfieldMemory | PlaceMemory:
    if choices.prototypes == "places":
        return PlaceMemory(size, width)
    return HopfieldMemory(
        size, width, beta=choices.beta, steps=choices.steps, unit_norm=choices.unit_norm
    )
