"""How far an image is from the normals, in the metric of their own spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn
from torch.nn import functional

_BEYOND_CHANCE = 0.06, 0.12
"""Share that normals explain of what chance leaves: where they begin to count, and where in full
(docs/lab-book/recipe.md)."""
_MOST_POWER = 2.0
_LEAST_LENGTH = 1e-12
_ALIKE = 1e-4
"""Relative difference of two whitened vectors up to which they are of the same image."""


class Mahalanobis(nn.Module):
    """Measures how far pooled deviations are from those of normals (as SSD, ICLR 2021).

    The norm of a deviation map weighs all channels alike; here each direction counts by how
    little normals vary in it. The covariance is shrunk (Ledoit and Wolf, 2004), so that fewer
    normals than channels do.

    Args:
        width: Channels of all scales side by side, sum C_s.

    Attributes:
        centre: Mean of the pooled deviations of normals, (sum C_s,).
        whitening: Brings their spread to one in every direction, (sum C_s, sum C_s).
    """

    centre: Tensor
    whitening: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("whitening", torch.eye(width))

    def fit(self, pooled: Tensor) -> None:
        """Take centre and spread from normals (N, sum C_s), N at least 2."""
        values = pooled.double()
        covariance, _ = ledoit_wolf(values.numpy())
        spread = torch.from_numpy(covariance)
        # Where all normals are alike nothing is known of the spread.
        spread.diagonal().add_(spread.diagonal().max().clamp(min=1e-12) * 1e-6)
        self.centre.copy_(values.mean(dim=0))
        factor = torch.linalg.cholesky(spread)
        unit = torch.eye(len(factor), dtype=factor.dtype)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, unit, upper=False).T)

    def forward(self, pooled: Tensor) -> Tensor:
        """Measure the distance (B,) of pooled deviations (B, sum C_s)."""
        return torch.linalg.vector_norm(self.whitened(pooled), dim=1)

    def whitened(self, pooled: Tensor) -> Tensor:
        """Bring pooled deviations (B, sum C_s) to where normals vary by one in every direction."""
        return (pooled.to(self.centre.dtype) - self.centre) @ self.whitening


class RememberedImages(NamedTuple):
    """Holds what is pooled of the whole images that a score recalls.

    Attributes:
        trained: Of normals trained on, (N, sum C_s), N at least 1.
        labelled: Of normals that a person labelled, (M, sum C_s).
        anomalous: Of labelled anomalies, (A, sum C_s).
    """

    trained: Tensor
    labelled: Tensor
    anomalous: Tensor


class MemoryOfImages(Mahalanobis):
    """Measures the Mahalanobis distance of an image, less what the normals most like it explain.

    One Gaussian knows how far normals lie from their centre and not in which directions they lie
    there, which tells most where they are of several kinds. So the direction of each normal is kept
    (a memory of whole images, which a distance from the centre does without), those most like that
    of the image are recalled, and the distance is ``d (1 - c)^p``: d is that of Mahalanobis, and c
    the mean cosine to those recalled; the distance is larger where all point another way. It is
    never below 0, and grows with d along any direction.

    How much the directions tell is learnt from held-out normals, as p from 0 to 2. Their mean c is
    larger than by chance, which is what as many draws of one Gaussian would explain of them: p is 0
    while they explain no more than 6% of what chance leaves, and 2 from 12% on
    (docs/lab-book/recipe.md).

    A normal that was trained on is explained by others alone, so that its distance stands beside
    that of an image which is new; one that a person labelled explains itself too.

    Labelled anomalies are remembered beside them, and :meth:`likeness` tells how much more an image
    is like those.

    Args:
        width: Channels of all scales side by side, sum C_s.
        neighbours: Normals, and labelled anomalies, whose directions are compared with that of an
            image, 2 of each by default; with 0 the distance is that of Mahalanobis.

    Attributes:
        power: p, a scalar; 1 until :meth:`weigh`.
        directions: Of the normals that are remembered, (N, sum C_s), of unit length, those trained
            on first; not part of the state, as a model keeps what is pooled of these normals.
        lengths: Distances from the centre of those trained on, at most N.
        anomalous: Directions of the labelled anomalies, (A, sum C_s); not part of the state either.

    Example:
        >>> kinds = torch.tensor([[5.0, 0.0], [0.0, 5.0]]).repeat(50, 1)
        >>> normals = kinds + torch.randn(100, 2)
        >>> memory = MemoryOfImages(2)
        >>> memory.fit(normals[:80])
        >>> memory.weigh(normals[80:])
        >>> of_a_kind, of_none = memory(torch.tensor([[6.0, 0.0], [6.0, 6.0]]))
        >>> bool(of_a_kind < of_none)
        True
    """

    power: Tensor
    directions: Tensor
    lengths: Tensor
    anomalous: Tensor

    def __init__(self, width: int, neighbours: int = 2) -> None:
        super().__init__(width)
        self.neighbours = neighbours
        self.register_buffer("power", torch.ones(()))
        self.register_buffer("directions", torch.zeros(1, width), persistent=False)
        self.register_buffer("lengths", torch.zeros(0), persistent=False)
        self.register_buffer("anomalous", torch.zeros(0, width), persistent=False)

    @torch.no_grad()
    def remember(self, images: RememberedImages) -> None:
        """Keep the directions of images, in place of those before.

        A normal that was trained on and is labelled anomalous since is an anomaly.
        """
        anomalous = images.anomalous if self.neighbours else images.anomalous[:0]
        parts = (images.trained, images.labelled, anomalous)
        offsets = [self.whitened(part) for part in parts]
        trained, labelled, odd = (functional.normalize(offset, dim=1) for offset in offsets)
        lengths, _, of_odd = (torch.linalg.vector_norm(offset, dim=1) for offset in offsets)
        normal = ~_alike(trained @ odd.T, lengths, of_odd).any(dim=1)
        self.directions = torch.cat([trained[normal], labelled])
        self.lengths, self.anomalous = lengths[normal], odd

    def fit(self, pooled: Tensor) -> None:
        """Take centre and spread from normals (N, sum C_s), N at least 2, and remember them."""
        super().fit(pooled)
        self.remember(RememberedImages(pooled, pooled[:0], pooled[:0]))

    @torch.no_grad()
    def weigh(self, held_out: Tensor) -> None:
        """Learn p from the pooled deviations (N, sum C_s) of held-out normals, N at least 1.

        None of them may have had a part in the spread. The Gaussian has the spread of the normals
        remembered in each whitened direction, and is drawn from as often as there are of them,
        always alike.
        """
        if self.neighbours == 0:
            return
        offset, known = self.whitened(held_out), len(self.directions)
        length = torch.linalg.vector_norm(offset, dim=1)
        spread = (self.directions[: len(self.lengths)] * self.lengths[:, None]).std(0, correction=0)
        generator = torch.Generator().manual_seed(0)
        draws = torch.randn(known, len(spread), generator=generator).to(spread) * spread
        by_draws = functional.normalize(offset, dim=1) @ functional.normalize(draws, dim=1).T
        chance = self._most(by_draws).mean()
        beyond = (self._recalled(offset, length).mean() - chance) / (1 - chance).clamp(min=1e-6)
        none, full = _BEYOND_CHANCE
        self.power.copy_(_MOST_POWER * ((beyond - none) / (full - none)).clamp(0, 1))

    def forward(self, pooled: Tensor) -> Tensor:
        """Measure what is left of the distance (B,) of pooled deviations (B, sum C_s)."""
        offset = self.whitened(pooled)
        length = torch.linalg.vector_norm(offset, dim=1)
        if self.neighbours == 0:
            return length
        # The slope of a root is without bound where nothing is left.
        return length * (1 - self._recalled(offset, length)).clamp(min=1e-6) ** self.power

    def likeness(self, pooled: Tensor) -> Tensor:
        """Tell how much more images are like labelled anomalies than like normals.

        Args:
            pooled: Pooled deviations, (B, sum C_s).

        Returns:
            (B,), between -2 and 2: the mean cosine to the labelled anomalies most like the image,
            less that to the normals most like it; 0 where none of them is remembered. Its gradient
            is that of an image of fixed length, along which it is a sum over all that is pooled.
        """
        offset = self.whitened(pooled)
        if len(self.anomalous) == 0:
            return torch.zeros_like(offset[:, 0])
        length = torch.linalg.vector_norm(offset, dim=1).detach()
        cosine = offset @ self.anomalous.T / length.clamp(min=_LEAST_LENGTH)[:, None]
        return self._most(cosine) - self._recalled(offset, length)

    def _recalled(self, offset: Tensor, length: Tensor) -> Tensor:
        """Mean cosine (B,) of whitened images of some length to the normals most like them."""
        cosine = offset @ self.directions.T / length.clamp(min=_LEAST_LENGTH)[:, None]
        trained = len(self.lengths)
        itself = _alike(cosine[:, :trained], length, self.lengths)
        itself = functional.pad(itself, (0, cosine.shape[1] - trained))
        return self._most(cosine.masked_fill(itself, 0.0))

    def _most(self, cosine: Tensor) -> Tensor:
        if cosine.shape[1] == 0:
            return cosine.sum(dim=1)
        return cosine.topk(min(self.neighbours, cosine.shape[1]), dim=1).values.mean(dim=1)


def _alike(cosine: Tensor, length: Tensor, other: Tensor) -> Tensor:
    """Whether whitened images (A,) and (B,) are the same, by cosines (A, B) and lengths."""
    own = length[:, None]
    return (cosine >= 1 - _ALIKE) & ((other - own).abs() <= _ALIKE * own)


def one_class_scores(deviations: Sequence[Tensor]) -> Tensor:
    """Score each scale without further training: the L2 norm of its deviation map (Eq. 6).

    The norm is divided by the root of the number of places, so that it does not grow with the
    size of the image.

    Args:
        deviations: One (B, C_s, H_s, W_s) a scale.

    Returns:
        (B, S).
    """
    return torch.stack([place_norms(d).square().mean(dim=(1, 2)).sqrt() for d in deviations], 1)


_PLACES = 10
"""Places of an image that its score rests on."""


@dataclass(frozen=True)
class DeviatingPlaces:
    """Holds the ten places of each of B images that deviate most over all scales.

    Where the sum of the distances weighted by lambda is largest, on the grid of the first scale, to
    which the others are enlarged. A place thus counts by what all scales say of it, and a small
    defect by its own places alone (as PatchCore scores, CVPR 2022, and its mean over places is less
    moved by one odd place).

    Attributes:
        places: (B, 10) int64, numbers of places on the grid, row by row.
        grid: Its height and width.
    """

    places: Tensor
    grid: tuple[int, int]

    @staticmethod
    def of(
        distances: Sequence[Tensor], lambdas: Sequence[float], inside: Tensor | None = None
    ) -> DeviatingPlaces:
        """Find them by the distance at each place.

        Args:
            distances: Comparable between scales, one (B, H_s, W_s) a scale.
            lambdas: Weight of each scale.
            inside: Where they may lie: pixels (B, H, W) bool, some of each image; None is
                everywhere. Where these are in fewer places than ten, places are repeated.
        """
        height, width = distances[0].shape[1:]
        together = sum(
            weight * _enlarged(each[:, None], (height, width))[:, 0]
            for each, weight in zip(distances, lambdas, strict=True)
        )
        assert isinstance(together, Tensor)
        together, count = together.flatten(1), min(_PLACES, height * width)
        if inside is None:
            return DeviatingPlaces(together.topk(count, dim=1).indices, (height, width))
        cells = functional.adaptive_max_pool2d(inside[:, None].float(), (height, width)).flatten(1)
        places = together.where(cells > 0, -torch.inf).topk(count, dim=1).indices
        rank = torch.arange(count, device=places.device)
        rank = rank % (cells > 0).sum(dim=1, keepdim=True).clamp(max=count)
        return DeviatingPlaces(places.gather(1, rank), (height, width))

    def mean(self, maps: Tensor) -> Tensor:
        """Average maps (B, C, H_s, W_s) of a scale over them, (B, C)."""
        values = _enlarged(maps, self.grid).flatten(2)
        chosen = self.places[:, None].expand(-1, values.shape[1], -1)
        return values.gather(2, chosen).mean(dim=2)


def most_deviating(distances: Sequence[Tensor], lambdas: Sequence[float]) -> Tensor:
    """Score each scale by its mean distance at the ten places that deviate most, (B, S).

    Args:
        distances: Distance at each place, comparable between scales, one (B, H_s, W_s) a scale.
        lambdas: Weight of each scale.
    """
    most = DeviatingPlaces.of(distances, lambdas)
    return torch.cat([most.mean(each[:, None]) for each in distances], 1)


def _enlarged(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps, grid, mode="bilinear")


def place_norms(deviation: Tensor) -> Tensor:
    """Take the L2 norm of a deviation map (B, C, H, W) at each place, (B, H, W)."""
    return torch.linalg.vector_norm(deviation, dim=1)
