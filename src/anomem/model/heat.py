"""How far each place of an image is from what normals look like there, and what heads find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anomem.model.directions import at_right_angles

_SHARED = 0.5
"""Share of the spread of all places together in that of each place."""
_RIDGE = 0.01
"""Share of the mean variance that is added to every variance."""

MOST_CHANNELS = 64
"""Directions in which the places of a feature map are compared; what they cost grows with the
square of their number (docs/lab-book/recipe.md)."""

MOST_UNUSUAL = 10
"""Places of an image, those that are most unusual, by whose mean it is scored,"""
ALIGNED = 0.6
"""where the place explains at least this share of what varies on the finest map: things then lie
where they lay before. Below it some sets gain and others lose (docs/lab-book/recipe.md)."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class PlaceMaps:
    """Holds what is seen at each place of B images.

    Attributes:
        features: Fine feature maps (B, C_s, H_s, W_s).
        odds: Log-odds of a pasted patch at each place, (B, H_s, W_s), from the heads of stage 1
            where there are any.
        deviations: Deviation map of each scale, (B, C_s, H_s, W_s).
    """

    features: list[Tensor]
    odds: list[Tensor]
    deviations: list[Tensor]


class HeatModel(nn.Module):
    """Measures how unusual each place is, in standard deviations of normals.

    Of each feature map the Mahalanobis distance: each place has a mean and a spread of its own (as
    PaDiM, ICPR 2020), the spread drawn halfway to that of all places, so that fewer normals than
    channels do. Of more channels than :data:`MOST_CHANNELS` it is the distance in as many random
    directions, the same in every model. Where frames lie anywhere in an image, all places have one
    mean and one spread. Of the heads that find patches, the log-odds as they are.

    Args:
        shapes: Channels, height and width of each feature map; height and width 1 where all
            places are one.
        heads: Number of maps of log-odds.

    Attributes:
        level: Mean of each map over unseen normals, those of features first, (S,).
        width: Its standard deviation, (S,).
        share: Share in [0, 1] of the variance of the finest map, over places and normals together,
            that the place explains; 0 where all places are one.
    """

    level: Tensor
    width: Tensor
    share: Tensor

    def __init__(self, shapes: Sequence[Shape], heads: int) -> None:
        super().__init__()
        kept = [(min(c, MOST_CHANNELS), h, w) for c, h, w in shapes]
        self.directions = nn.ParameterDict(
            {
                str(scale): _fixed(torch.eye(c, MOST_CHANNELS))
                for scale, (c, _, _) in enumerate(shapes)
                if c > MOST_CHANNELS
            }
        )
        self.centres = nn.ParameterList(_fixed(torch.zeros(c, h, w)) for c, h, w in kept)
        self.whitenings = nn.ParameterList(
            _fixed(_packed(torch.eye(c).repeat(h, w, 1, 1)).half()) for c, h, w in kept
        )
        self.register_buffer("level", torch.zeros(len(shapes) + heads))
        self.register_buffer("width", torch.ones(len(shapes) + heads))
        self.register_buffer("share", torch.zeros(()))

    @property
    def aligned(self) -> bool:
        """Tell whether what is usual differs so much by place that a score may rest on it."""
        return float(self.share) >= ALIGNED

    @staticmethod
    def of(tensors: dict[str, Tensor]) -> HeatModel:
        """Build the heat model of a state dict."""
        maps = sum(name.startswith("centres.") for name in tensors)
        shapes = []
        for scale in range(maps):
            channels, height, width = tensors[f"centres.{scale}"].shape
            wide = tensors.get(f"directions.{scale}")
            shapes.append((channels if wide is None else len(wide), height, width))
        model = HeatModel(shapes, len(tensors["level"]) - maps)
        model.load_state_dict(tensors)
        return model

    @torch.no_grad()
    def fit(self, normals: Iterable[PlaceMaps]) -> None:
        """Take means and spreads from batches of normals."""
        for name, directions in self.directions.items():
            directions.copy_(at_right_angles(len(directions), MOST_CHANNELS, int(name)))
        counts = [0] * len(self.centres)
        sums = [torch.zeros(centre.shape, dtype=torch.float64) for centre in self.centres]
        products = [
            torch.zeros(h, w, c, c, dtype=torch.float64)
            for c, h, w in (centre.shape for centre in self.centres)
        ]
        for batch in normals:
            for scale, features in enumerate(batch.features):
                values = self._by_place(self._narrowed(features, scale), scale).double()
                counts[scale] += len(values)
                sums[scale] += values.sum(dim=0)
                products[scale] += torch.einsum("bchw,bdhw->hwcd", values, values)
        for scale, (count, total, product) in enumerate(zip(counts, sums, products, strict=True)):
            centre = total / count
            spread = product / count - torch.einsum("chw,dhw->hwcd", centre, centre)
            self.centres[scale].copy_(centre)
            self.whitenings[scale].copy_(_packed(_whitening(spread)))
            if scale == 0:
                between = centre.var(dim=(1, 2), correction=0).sum()
                within = spread.diagonal(dim1=2, dim2=3).sum(dim=2).mean()
                self.share.copy_(between / (between + within).clamp(min=1e-12))

    @torch.no_grad()
    def calibrate(self, unseen: Iterable[PlaceMaps]) -> None:
        """Take level and width from batches of unseen normals."""
        parts = [[*self.distances(batch.features), *batch.odds] for batch in unseen]
        for scale, maps in enumerate(zip(*parts, strict=True)):
            values = torch.cat(maps)
            self.level[scale], self.width[scale] = values.mean(), values.std().clamp(min=1e-8)

    def distances(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Measure the distance at each place, (B, H_s, W_s) a map."""
        scales = zip(features, range(len(self.centres)), strict=True)
        return [self._distance(maps, scale) for maps, scale in scales]

    def _distance(self, features: Tensor, scale: int) -> Tensor:
        """The distance at each place of one map, in the precision that it is given in."""
        values, centre = self._narrowed(features, scale), self.centres[scale]
        off = (values - centre.to(values.dtype)).permute(2, 3, 0, 1)
        whitening = _unpacked(self.whitenings[scale].to(values.dtype), len(centre))
        white = off @ whitening.transpose(-1, -2)
        return torch.linalg.vector_norm(white, dim=-1).permute(2, 0, 1)

    def finest(self, features: Tensor) -> Tensor:
        """Rate how unusual each place is on the finest map, of features (B, C, H, W), (B, H, W).

        In double precision, as a score rests on it: of each image the same beside any others.
        """
        return (self._distance(features.double(), 0) - self.level[0]) / self.width[0]

    def forward(self, seen: PlaceMaps) -> list[Tensor]:
        """Rate how unusual each place is on each map, (B, H_s, W_s); unseen normals average 0."""
        maps = [*self.distances(seen.features), *seen.odds]
        return [
            (values - level) / width
            for values, level, width in zip(maps, self.level, self.width, strict=True)
        ]

    def _narrowed(self, features: Tensor, scale: int) -> Tensor:
        """A feature map, a wide one by its parts in the directions that count."""
        if str(scale) not in self.directions:
            return features
        directions = self.directions[str(scale)].to(features.dtype)
        return torch.einsum("bchw,cd->bdhw", features, directions)

    def _by_place(self, features: Tensor, scale: int) -> Tensor:
        """Feature maps as samples of each place, or of the one that stands for all."""
        if self.centres[scale].shape[1:] != (1, 1):
            return features
        return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1], 1, 1)


def _packed(lower: Tensor) -> Tensor:
    """Keep of lower triangular matrices (..., C, C) what is not 0, (..., C (C + 1) / 2)."""
    rows, columns = torch.tril_indices(lower.shape[-1], lower.shape[-1])
    return lower[..., rows, columns]


def _unpacked(kept: Tensor, channels: int) -> Tensor:
    """The matrices (..., C, C) again."""
    places = np.zeros((channels, channels), dtype=np.int64)  # 0 is where nothing was kept
    rows, columns = np.tril_indices(channels)
    places[rows, columns] = np.arange(1, len(rows) + 1)
    nothing = kept.new_zeros(*kept.shape[:-1], 1)
    return torch.cat([nothing, kept], -1)[..., torch.from_numpy(places)]


def _whitening(spread: Tensor) -> Tensor:
    """Brings covariances (H, W, C, C), each drawn to their mean, to one in every direction."""
    shared = spread.mean(dim=(0, 1))
    unit = torch.eye(len(shared), dtype=shared.dtype)
    ridge = _RIDGE * shared.diagonal().mean().clamp(min=1e-6) * unit
    factor = torch.linalg.cholesky(_SHARED * shared + (1 - _SHARED) * spread + ridge)
    return torch.linalg.solve_triangular(factor, unit.expand_as(factor), upper=False)


def _fixed(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


def new_heat(features: Sequence[Tensor], heads: int, *, anywhere: bool) -> HeatModel:
    """Build a heat model before normals are seen, for fine feature maps (B, C_s, H_s, W_s)."""
    shapes = (maps.shape[1:] for maps in features)
    return HeatModel([(c, 1, 1) if anywhere else (c, h, w) for c, h, w in shapes], heads)


def most_unusual(kinds: Sequence[HeatModel], features: Tensor) -> tuple[Tensor, Tensor]:
    """Find the ten places of images that are most unusual, for the kind of normal nearest to each.

    Args:
        kinds: What is usual for each kind of normal, at least one.
        features: The finest feature maps (B, C, H, W).

    Returns:
        How unusual each is, (B, 10) float64, fewer where a map has fewer; and its position in the
        map, row by row.
    """
    rated = torch.stack([each.finest(features).flatten(1) for each in kinds])
    values, positions = rated.topk(min(MOST_UNUSUAL, rated.shape[2]), dim=2)
    # By gathering, as a graph of any number of images holds no list of them.
    nearest = values.mean(dim=2, keepdim=True).argmin(dim=0, keepdim=True).expand_as(values[:1])
    return values.gather(0, nearest)[0], positions.gather(0, nearest)[0]


def shares_of_unusual(kinds: Sequence[HeatModel], features: Tensor) -> Tensor:
    """Give the share of each place in the mean over :func:`most_unusual`, (B, H, W) float32."""
    values, positions = most_unusual(kinds, features)
    shares = torch.zeros(len(features), features[0, 0].numel())
    shares.scatter_(1, positions, (values / values.shape[1]).float())
    return shares.unflatten(1, features.shape[2:])
