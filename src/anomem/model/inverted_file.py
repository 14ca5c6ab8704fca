"""The nearest of many vectors, looked for among the groups that are near, and exactly where far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

_ROUNDS = 3
"""Of k-means."""
_PROBES = 2
"""Groups that a row is compared with."""
_EXACT, _SHARE = 16, 48
"""Rows of each image that are compared with all vectors, those that are farthest: so many at least,
and one in so many."""
_FEWEST = 4
"""Rows of a product of matrices; fewer are rounded otherwise than beside others."""
_BLOCK = 64
"""Values of which the lowest is looked for first."""


@dataclass(frozen=True)
class InvertedFile:
    """Holds N vectors by groups, so that a nearest one is found without looking at all.

    An inverted file (Jegou et al., 2011): k-means puts the vectors into root N groups, and a row is
    compared with those of the two groups whose centres are nearest. What it finds is at times not
    the nearest of all. As those rows matter that are far from all vectors, the rows of an image
    that seem farthest, one in forty-eight and 16 at least, are compared with all.

    Attributes:
        of: (N, D), the vectors as they were given.
        centres: (G, D) float32, of the groups.
        vectors: (N, D) float32, a group after the other.
        halves: (N,) float32, half the square of each of these.
        number: (N,) int64, place of each of these in ``of``.
        ends: Where each group ends among these, after a first 0.
        further: (A, D) float32, the last of ``of``, in no group: each row is compared with all.
        group: (N - A,) int64, of each of the others, as they were given.

    Example:
        >>> found = InvertedFile.build(torch.tensor([[0.0, 0.0], [0.0, 5.0], [4.0, 0.0]]))
        >>> found.nearest(torch.tensor([[[3.0, 1.0], [0.0, 4.0]]]))
        tensor([[2, 1]])
    """

    of: Tensor
    centres: Tensor
    vectors: Tensor
    halves: Tensor
    number: Tensor
    ends: tuple[int, ...]
    further: Tensor
    group: Tensor

    @staticmethod
    @torch.no_grad()
    def build(of: Tensor, further: int = 0, around: Tensor | None = None) -> InvertedFile:
        """Put vectors (N, D) into groups, beginning with the first ones as centres.

        In double precision, so that the groups do not depend on how a product is rounded.

        Args:
            of: At least one more than ``further``.
            further: How many of them, the last, are in no group; none by default. What is found is
                never farther than without them.
            around: (G, D), centres of groups of nearly the same vectors, which stay the centres.
        """
        grouped = len(of) - further
        exact = of[:grouped].double()
        centres = exact[: math.isqrt(len(exact))] if around is None else around.double()
        for _ in range(_ROUNDS if around is None else 0):
            group, inverse = _products(exact, centres).argmin(dim=1).unique(return_inverse=True)
            sums = exact.new_zeros(len(group), exact.shape[1]).index_add(0, inverse, exact)
            centres = sums / torch.bincount(inverse)[:, None]
        group = _products(exact, centres).argmin(dim=1)
        number = group.argsort(stable=True)
        sizes = torch.bincount(group, minlength=len(centres))
        kept, vectors = sizes > 0, of[number].float()
        ends = (0, *sizes[kept].cumsum(0).tolist())
        halves, others = _halves(vectors), of[grouped:].float()
        group = kept.cumsum(0)[group] - 1
        return InvertedFile(of, centres[kept].float(), vectors, halves, number, ends, others, group)

    def nearest(self, rows: Tensor) -> Tensor:
        """Find the vector nearest to each of P rows of B images (B, P, D), (B, P) int64."""
        images, count = rows.shape[:2]
        flat = rows.reshape(-1, rows.shape[2]).contiguous()
        value, index = self._among_near(flat)
        far = _farthest(value, flat, images, count)
        far = (far + count * torch.arange(images, device=far.device)[:, None]).flatten()
        index[far] = _argmin(_products(flat[far], self.vectors, self.halves))
        found = self.number[index]
        if len(self.further):
            other = _products(flat, self.further).min(dim=1)
            own = self.halves[index] - (self.vectors[index] * flat).sum(dim=1)
            found = found.where(other.values >= own, other.indices + len(self.vectors))
        return found.view(images, count)

    def nearest_by_masks(self, rows: Tensor, of: Tensor) -> Tensor:
        """Find what :meth:`nearest` finds, in steps that a graph without loops can hold.

        Every row is compared with all vectors, and those of groups that are not near are masked.

        Args:
            rows: (B, P, D).
            of: The attribute of this name, as the graph holds it.
        """
        images, count = rows.shape[:2]
        flat, vectors = rows.reshape(-1, rows.shape[2]), of.float()
        every = torch.addmm(_halves(vectors), flat, vectors.T, alpha=-1)
        centres = torch.addmm(_halves(self.centres), flat, self.centres.T, alpha=-1)
        near = centres.topk(min(_PROBES, len(self.centres)), dim=1, largest=False).indices
        seen = (near[:, :, None] == self.group).any(dim=1)
        grouped = every[:, : len(self.group)].masked_fill(~seen, torch.inf)
        far = _farthest(grouped.amin(dim=1), flat, images, count)
        exact = torch.zeros_like(rows[..., 0], dtype=torch.bool).scatter(1, far, True)
        grouped = grouped.where(~exact.flatten()[:, None], every[:, : len(self.group)])
        found = torch.cat([grouped, every[:, len(self.group) :]], 1).argmin(dim=1)
        return found.view(images, count)

    def _among_near(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nearest to each of R rows (R, D) of the vectors of the groups near it.

        Returns:
            Half the squared distance less half the square of the row, and the index, both (R,).
        """
        probes = min(_PROBES, len(self.centres))
        near = _lowest(_products(rows, self.centres), probes).flatten()
        order = near.argsort(stable=True)
        sizes = torch.bincount(near, minlength=len(self.centres)).tolist()
        values, indices = [], []
        for of, (start, end) in zip(
            (order // probes).split(sizes), pairwise(self.ends), strict=True
        ):
            if len(of):
                vectors, halves = self.vectors[start:end], self.halves[start:end]
                found = _products(rows.index_select(0, of), vectors, halves).min(dim=1)
                values.append(found.values)
                indices.append(found.indices.add_(start))
        value, index = rows.new_empty(len(near)), torch.empty_like(near)
        value[order], index[order] = torch.cat(values), torch.cat(indices)
        value, best = value.view(-1, probes).min(dim=1)
        return value, index.view(-1, probes).gather(1, best[:, None])[:, 0]


def _farthest(value: Tensor, rows: Tensor, images: int, count: int) -> Tensor:
    """Places of each image (B, E) that seem farthest, by half their squared distances less theirs.

    Args:
        value: (B P,), as of :meth:`InvertedFile._among_near`.
        rows: (B P, D).
        images: B.
        count: P.
    """
    squared = (2 * value + rows.square().sum(dim=1)).view(images, count)
    return squared.topk(min(max(_EXACT, count // _SHARE), count), dim=1).indices


def _lowest(values: Tensor, count: int) -> Tensor:
    """Indices of the lowest of each row of values (R, G), (R, count); changes the values."""
    found = []
    for _ in range(count):
        found.append(values.min(dim=1, keepdim=True).indices)
        values.scatter_(1, found[-1], torch.inf)
    return torch.cat(found, 1)


def _argmin(values: Tensor) -> Tensor:
    """Index of the lowest of each row of values (R, N), (R,), in a third of the time of argmin."""
    whole = functional.pad(values, (0, -values.shape[1] % _BLOCK), value=torch.inf)
    blocks = whole.unflatten(1, (-1, _BLOCK))
    block = blocks.amin(dim=2).argmin(dim=1)
    within = blocks[torch.arange(len(block), device=block.device), block].argmin(dim=1)
    return block * _BLOCK + within


def _products(rows: Tensor, vectors: Tensor, halves: Tensor | None = None) -> Tensor:
    """Half the squares of vectors (N, D) less their products with rows (R, D), (R, N)."""
    enough = rows if len(rows) >= _FEWEST else rows.repeat(_FEWEST, 1)
    known = _halves(vectors) if halves is None else halves
    return torch.addmm(known, enough, vectors.T, alpha=-1)[: len(rows)]


def _halves(vectors: Tensor) -> Tensor:
    return vectors.square().sum(dim=1) / 2
