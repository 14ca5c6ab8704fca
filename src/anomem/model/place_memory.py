"""A memory of one scale whose prototypes are places of normal images, chosen by k-centre."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.model.inverted_file import InvertedFile

_CANDIDATES = 256
"""Places looked at together when the next centres are chosen."""
MOST_CHANNELS = 256
"""Directions in which features are compared."""
_ROUNDED = 1.001
"""Of the radius of known places, as their distances are rounded otherwise beside other places."""
LARGEST_HALF = torch.finfo(torch.float16).max
_ROWS = 2048
"""Places that are compared with all prototypes at a time."""


class Places(NamedTuple):
    """Holds M places of feature maps.

    Attributes:
        values: (M, D), in the directions that a memory compares.
        origin: (M, 2) int64, number of the frame of each, and of the place on its grid, row by row.
    """

    values: Tensor
    origin: Tensor


class PlaceMemory(nn.Module):
    """Holds places of normal images as prototypes, and recalls the nearest one.

    It is the memory of the paper without training: the prototypes come from data, and the
    retrieval is its limit of a high inverse temperature. Its size is fixed, whatever the number of
    images. Features of many channels are compared in :data:`MOST_CHANNELS` random directions.

    Args:
        size: Number of prototypes N, at least 1.
        channels: Length C of a feature, of which D directions are compared.

    Attributes:
        directions: (C, D) float16.
        prototypes: (N, D) float16, and behind them those that labels allow.
        origin: (N, 2) int64, as of :class:`Places`: of which place each was made; -1 of those that
            labels allow.
        radius: Distance within which each place that they were first chosen among has one.
        allowed: How many prototypes are places of labelled normals.
        left_out: (N,) bool, which of those of the fit labels leave out; they are none of
            ``prototypes`` then.
        level: Mean distance of the places of held-out normals to what is recalled, by which
            distances of different scales are compared.

    Example:
        >>> memory = PlaceMemory(2, 8)
        >>> places = torch.eye(8)[[0, 0, 3, 3]]
        >>> memory.fill(Places(places, torch.arange(8).view(4, 2)), seed=0)
        >>> memory.deviation(places + 0.5).norm(dim=-1)
        tensor([1.4142, 1.4142, 1.4142, 1.4142])
    """

    directions: Tensor
    prototypes: Tensor
    origin: Tensor
    radius: Tensor
    level: Tensor

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.width = min(channels, MOST_CHANNELS)
        halves = torch.eye(channels, self.width, dtype=torch.float16)
        self.register_buffer("directions", halves)
        self.register_buffer("prototypes", torch.zeros(size, self.width, dtype=torch.float16))
        self.register_buffer("origin", torch.zeros(size, 2, dtype=torch.int64))
        self.register_buffer("radius", torch.zeros(()))
        self.register_buffer("level", torch.ones(()))
        self.allowed = 0
        self.left_out = torch.zeros(size, dtype=torch.bool)
        self._of_fit: tuple[Tensor, Tensor] | None = None
        self._search: InvertedFile | None = None

    @torch.no_grad()
    def fill(self, places: Places, seed: int, part: Tensor | None = None) -> Tensor:
        """Choose the prototypes among places, at least one; fewer than N are repeated.

        Args:
            places: M of them, as :meth:`comparable` puts them.
            seed: Of the first choice.
            part: Of each place, as of :func:`k_centre`.

        Returns:
            (P + 1, M), squared distances as of :class:`Centres`.
        """
        size, values = len(self.prototypes), places.values.half()
        generator = torch.Generator().manual_seed(seed)
        first = int(torch.randint(len(values), (1,), generator=generator))
        chosen = k_centre(values.float(), min(size, len(values)), first, part)
        again = torch.arange(size, device=values.device) % len(chosen.indices)
        self.prototypes = values[chosen.indices[again]]
        self.origin = places.origin[chosen.indices[again]]
        self.radius.fill_(chosen.radius)
        return chosen.squared

    @torch.no_grad()
    def add(self, places: Places, most: int, part: Tensor | None = None) -> Tensor:
        """Take some places of another kind as prototypes too: those that none of its own is near.

        As many as bring all of them within the radius, and no more than ``most``.

        Args:
            places: M of them, as :meth:`comparable` puts them.
            most: See above.
            part: Of each place, as of :func:`k_centre`; prototypes that are known are in none.

        Returns:
            (P + 1, M), squared distances as of :class:`Centres`.
        """
        values, most = places.values.half(), min(most, len(places.values))
        radius = float(self.radius) * _ROUNDED
        new = further_centres(values.float(), self.prototypes.float(), most, radius, part)
        self.prototypes = torch.cat([self.prototypes, values[new.indices]])
        self.origin = torch.cat([self.origin, places.origin[new.indices]])
        self.left_out, self._of_fit = torch.zeros(len(self.prototypes), dtype=torch.bool), None
        return new.squared

    @torch.no_grad()
    def without(self, own: Tensor, others: Places, squared: Tensor) -> PlaceMemory:
        """Give the memory as if some images had not been seen.

        Their prototypes are left out, and places of other images to which these were the nearest
        are covered again: k-centre goes on among them, to the radius and with as many prototypes at
        most.

        Args:
            own: (N,) bool, prototypes to leave out.
            others: M places of other images to which one of these is the nearest.
            squared: (M,), squared distance of each to the nearest of the prototypes that are left;
                infinite where there is none.
        """
        other = copy.deepcopy(self, {id(self._search): None})
        kept, values = self.prototypes[~own], others.values.half()
        most, radius = min(int(own.sum()), len(values)), float(self.radius) * _ROUNDED
        new = torch.zeros(0, dtype=torch.int64)
        if most > 0:
            of_place, _ = _of_parts(values, None)
            known = squared[None].clone()
            new = _farthest_next(values.float(), known, most, radius, part=of_place).indices
        other.prototypes = torch.cat([kept, values[new]])
        other.origin = torch.cat([self.origin[~own], others.origin[new]])
        # It is measured by once, for which the groups of the whole do.
        around = self._groups().centres
        other._search = InvertedFile.build(other.prototypes, other.allowed, around)
        return other

    @property
    def of_fit(self) -> tuple[Tensor, Tensor]:
        """Give the prototypes of the fit and their origins, whatever labels have changed."""
        return self._of_fit or (self.prototypes, self.origin)

    def recall(self, places: Tensor, left_out: Tensor) -> None:
        """Recall what labels say, in place of what earlier ones said.

        Args:
            places: (A, D), of labelled normals: recalled too.
            left_out: (N,) bool, prototypes of the fit that are not, unless that would be all.
        """
        prototypes, origin = self._of_fit = self.of_fit
        kept = ~left_out.to(prototypes.device)
        if not kept.any():
            kept[:] = True
        self.prototypes = torch.cat([prototypes[kept], places.to(prototypes)])
        self.origin = torch.cat([origin[kept], origin.new_full((len(places), 2), -1)])
        self.allowed, self.left_out = len(places), left_out

    def recalled(self, query: Tensor) -> Tensor:
        """Find the prototype nearest to each query (..., C), (...) int64."""
        return self.nearest(self.comparable(query))

    def forward(self, query: Tensor) -> Tensor:
        """Recollect each query (..., C): the prototype nearest to it, (..., D) float32."""
        return self.prototypes[self.recalled(query)].float()

    def comparable(self, features: Tensor) -> Tensor:
        """Give the parts of features (..., C) in the directions that are compared, (..., D).

        None is larger than half precision has, in which prototypes are kept.
        """
        values = features.float()
        if len(self.directions) > self.width:
            values = values @ self.directions.float()
        return values.clamp(-LARGEST_HALF, LARGEST_HALF)

    def deviation(self, query: Tensor) -> Tensor:
        """Measure how each query deviates from what is recalled in its place (Eq. 5), (..., D)."""
        values = self.comparable(query)
        return values - self.prototypes[self.nearest(values)].float()

    def nearest(self, values: Tensor) -> Tensor:
        """Find the prototype nearest to each place (..., D), as they are compared, (...) int64."""
        places = math.prod(values.shape[-3:-1])
        rows = values.reshape(-1, places, values.shape[-1])
        if torch.compiler.is_exporting():
            assert self._search is not None, "it is searched once before it is exported"
            return self._search.nearest_by_masks(rows, self.prototypes).view(values.shape[:-1])
        return self._groups().nearest(rows).view(values.shape[:-1])

    def _groups(self) -> InvertedFile:
        if self._search is None or self._search.of is not self.prototypes:
            self._search = InvertedFile.build(self.prototypes, self.allowed)
        return self._search


class Centres(NamedTuple):
    """Holds what k-centre chose of M places.

    Attributes:
        indices: (K,) int64, in the order in which they were chosen.
        radius: Distance of the place that is farthest from all centres; 0 where all are centres.
        squared: (P + 1, M), squared distance to the nearest centre of each of P parts, and behind
            these to that of no part; infinite where there is no such centre, and minus infinity of
            a centre to itself.
    """

    indices: Tensor
    radius: float
    squared: Tensor


def k_centre(places: Tensor, size: int, first: int, part: Tensor | None = None) -> Centres:
    """Choose places such that all others are near one: the farthest from those chosen comes next.

    Greedy k-centre (Gonzalez, 1985), as the coreset of PatchCore (CVPR 2022).

    Args:
        places: (M, C) float32, M at least 1.
        size: Places to choose, from 1 to M.
        first: Index of the first.
        part: (M,) int64, number of the part of each place, as of which distances are told; -1 of
            places that are in none, as all are by default.
    """
    of_place, squared = _of_parts(places, part)
    start = torch.tensor([first], device=places.device)
    _bring_nearer(squared, places, places.square().sum(dim=1), start, of_place)
    further = _farthest_next(places, squared, size - 1, part=of_place)
    return further._replace(indices=torch.cat([start, further.indices]))


def further_centres(
    places: Tensor,
    known: Tensor,
    size: int,
    radius: float = 0.0,
    part: Tensor | None = None,
) -> Centres:
    """Go on with k-centre from centres that are known, until these and the new ones are enough.

    Args:
        places: (M, C) float32, M at least 1, to choose from.
        known: (K, C) float32, centres that need be none of the places, and are in no part.
        size: Places to choose, from 0 to M.
        radius: Distance within which a place needs no centre nearer to it; with 0, the default, so
            many are chosen as are asked for, or all that are no centre.
        part: As of :func:`k_centre`.

    Returns:
        The new ones alone; none where all places are within the radius of known ones.
    """
    of_place, squared = _of_parts(places, part)
    squared[-1] = _to_nearest(places, places.square().sum(dim=1), known, [len(known)])[0]
    return _farthest_next(places, squared, size, radius, part=of_place)


def _of_parts(places: Tensor, part: Tensor | None) -> tuple[Tensor, Tensor]:
    """Part of each place (M,), and squared distances (P + 1, M) before there is a centre."""
    of_place = places.new_full((len(places),), -1, dtype=torch.int64) if part is None else part
    parts = int(of_place.max()) + 1
    return of_place, places.new_full((parts + 1, len(places)), torch.inf)


def _farthest_next(
    places: Tensor, squared: Tensor, size: int, radius: float | None = None, *, part: Tensor
) -> Centres:
    """Choose so many places at most, the farthest first, while any is farther than the radius.

    The result is that of one place at a time; but distances to several are computed at once. Those
    that are farthest now are candidates, and as distances only shrink, the farthest candidate is
    the farthest of all until it is nearer than any place outside was at the start.

    Args:
        places: (M, C).
        squared: (P + 1, M), of the centres so far, as of :class:`Centres`; changed in place.
        size: M at most.
        radius: Within which no place is chosen, not squared; None for none.
        part: (M,), of each place.
    """
    chosen, left = [torch.zeros(0, dtype=torch.int64, device=places.device)], size
    squares, enough = places.square().sum(dim=1), -torch.inf if radius is None else radius**2
    distance = squared.amin(dim=0)
    while left > 0 and float(distance.max()) > enough:
        # In the order of places, so that of equally far ones the first comes next.
        candidates = distance.topk(min(_CANDIDATES + 1, len(places))).indices.sort().values
        highest = distance[candidates]
        outside = float(highest.min()) if len(candidates) < len(places) else -torch.inf
        among = _squared_distances(places[candidates])
        picked: list[int] = []
        while len(picked) < left:
            farthest = int(highest.argmax())
            if picked and float(highest[farthest]) <= max(outside, enough):
                break
            picked.append(farthest)
            highest = highest.minimum(among[farthest])
            highest[farthest] = -torch.inf
        new = candidates[picked]
        chosen.append(new)
        left -= len(new)
        _bring_nearer(squared, places, squares, new, part)
        distance = squared.amin(dim=0)
    return Centres(torch.cat(chosen), float(distance.max().clamp(min=0).sqrt()), squared)


def _bring_nearer(
    squared: Tensor, places: Tensor, squares: Tensor, centres: Tensor, part: Tensor
) -> None:
    """Take further centres, some of the places, into squared distances (P + 1, M), in place."""
    ordered = centres[part[centres].argsort()]
    parts, counts = part[ordered].unique_consecutive(return_counts=True)
    found = _to_nearest(places, squares, places[ordered], counts.tolist())
    squared[parts] = squared[parts].minimum(found)
    squared[part[centres], centres] = -torch.inf


def _to_nearest(places: Tensor, squares: Tensor, others: Tensor, counts: Sequence[int]) -> Tensor:
    """Squared distances of places (M, C), of known squares (M,), to the nearest of others.

    Args:
        places: The places.
        squares: Theirs.
        others: One group after the other.
        counts: How many are in each of G groups.

    Returns:
        (G, M).
    """
    halves = others.square().sum(dim=1) / 2
    # A part after the other, so that products are read again while they are in the cache.
    lowest = []
    for rows in places.split(_ROWS):
        products = torch.addmm(halves[:, None], others, rows.T, alpha=-1).split(counts)
        lowest.append(torch.stack([each.amin(dim=0) for each in products]))
    return torch.cat(lowest, 1).mul_(2).add_(squares).clamp_(min=0)


def _squared_distances(places: Tensor) -> Tensor:
    """Squared distances (M, M) among places (M, C)."""
    squares = places.square().sum(dim=1)
    return (squares[:, None] + squares - 2 * places @ places.T).clamp(min=0)


def neighbourhoods(maps: Sequence[Tensor]) -> list[Tensor]:
    """Describe each place by its surroundings at two scales.

    Each feature map is averaged over 3 x 3 places, what lies outside counting as 0 (as PatchCore
    does: the edge of an image, where convolutions see half of it, weighs less), and joined by the
    next deeper one, enlarged to its size.

    Args:
        maps: Feature maps (B, C_s, H_s, W_s), shallow to deep.

    Returns:
        (B, C_s + C_(s+1), H_s, W_s) for all but the last.
    """
    smooth = [functional.avg_pool2d(each, 3, 1, 1) for each in maps]
    return [
        torch.cat([fine, functional.interpolate(deep, fine.shape[-2:], mode="bilinear")], 1)
        for fine, deep in pairwise(smooth)
    ]
