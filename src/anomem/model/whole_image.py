"""How far a whole image is from normals, whatever its places are like."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anomem.model.one_class import Mahalanobis

_PARTS = 10
"""In which groups are left out."""


class WholeImage(Mahalanobis):
    """Measures how far the direction of the features of an image is from those of normals.

    Places tell of a small defect, and little of a thing that is another one as a whole and lies
    anywhere. The direction is that of the mean of the deepest feature map over its places. It is
    measured in double precision: of each image the same beside any others.

    Args:
        width: Channels of the map.

    Attributes:
        level: Mean distance of the normals.

    Example:
        >>> normals, odd = torch.randn(50, 8) + 4, -torch.ones(1, 8)
        >>> whole = WholeImage(8)
        >>> whole.fit(nn.functional.normalize(normals, dim=1))
        >>> bool(whole(nn.functional.normalize(odd, dim=1)) > 3)
        True
    """

    level: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("level", torch.zeros(()))
        # A model keeps the directions that all of it is made of.
        for name, values in list(self.named_buffers()):
            self.register_buffer(name, values, persistent=False)

    def fit(self, pooled: Tensor) -> None:
        """Take centre, spread and level from the directions of normals (N, C), N at least 2."""
        super().fit(pooled)
        self.double().level.copy_(self(pooled).mean())


class WholeImages(nn.Module):
    """Measures how far a whole image is from the kind of normal nearest to it.

    Where an image is nearer to a normal that a person labelled, it is as far as a usual normal is,
    and the further the further it is from that one. None of it is part of a state, as a model keeps
    the directions that it is made of.

    Args:
        width: Channels of a direction.
        kinds: Number of kinds.

    Attributes:
        labelled: Directions of the labelled normals, (M, C).
    """

    labelled: Tensor

    def __init__(self, width: int, kinds: int) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(WholeImage(width) for _ in range(kinds))
        self.register_buffer("labelled", torch.zeros(0, width), persistent=False)

    @staticmethod
    def of(kinds: Sequence[Tensor], labelled: Tensor) -> WholeImages:
        """Learn from the directions of the normals of each kind, and of the labelled ones."""
        whole = WholeImages(labelled.shape[1], len(kinds))
        for each, directions in zip(whole.kinds, kinds, strict=True):
            assert isinstance(each, WholeImage)
            each.fit(directions)
        whole.labelled = labelled.float()
        return whole

    def forward(self, directions: Tensor) -> Tensor:
        """Measure directions (B, C), (B,) float64."""
        found = []
        for kind in self.kinds:
            assert isinstance(kind, WholeImage)
            white, labelled = kind.whitened(directions), kind.whitened(self.labelled)
            length, other = (each.square().sum(dim=1) for each in (white, labelled))
            found.append(length.sqrt()[:, None])
            off = length[:, None] + other - 2 * white @ labelled.T
            found.append((off.clamp(min=0) + kind.level.square()).sqrt())
        return torch.cat(found, 1).amin(dim=1)

    def of_kinds(self, directions: Tensor) -> Tensor:
        """Measure directions (B, C) from each kind, (B, K) float64, whatever is labelled."""
        return torch.stack([kind(directions) for kind in self.kinds], 1)


def in_turn(directions: Tensor, group: Tensor, usual: Tensor) -> Tensor:
    """Measure the direction of each normal by usual normals of other groups, in ten parts.

    Args:
        directions: (N, C).
        group: (N,) int64.
        usual: (N,) bool, those that tell what is usual.

    Returns:
        (N,) float64.
    """
    found, groups = torch.zeros(len(directions), dtype=torch.float64), group.unique()
    shuffled = groups[torch.randperm(len(groups), generator=torch.Generator().manual_seed(0))]
    for part in shuffled.tensor_split(min(_PARTS, len(groups))):
        own = torch.isin(group, part)
        others = directions[usual & ~own]
        if len(others) < 2:  # of one image no spread is known
            others = directions
        whole = WholeImage(directions.shape[1])
        whole.fit(others)
        found[own] = whole(directions[own])
    return found
