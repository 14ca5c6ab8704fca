"""How far each place of an image is from what normals look like there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

_RIDGE = 0.01
"""Share of the mean variance that is added to every variance."""


class UsualPlaces(nn.Module):
    """Mahalanobis distance of the deviation at each place, in standard deviations of normals.

    Each place has a mean of its own, as where an object lies in the picture matters; the spread
    around it is that of all places of a scale together, as a few hundred normals suffice for it.

    Args:
        shapes: Channels, height and width of the deviation map of each scale.

    Attributes:
        level: Mean distance of unseen normals at each scale, (S,).
        width: Its standard deviation, (S,).
    """

    level: Tensor
    width: Tensor

    def __init__(self, shapes: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        self.centres = nn.ParameterList(_fixed(torch.zeros(shape)) for shape in shapes)
        self.whitenings = nn.ParameterList(_fixed(torch.eye(shape[0])) for shape in shapes)
        self.register_buffer("level", torch.zeros(len(shapes)))
        self.register_buffer("width", torch.ones(len(shapes)))

    @torch.no_grad()
    def fit(self, normals: Iterable[Sequence[Tensor]]) -> None:
        """Take means and spread from batches of deviation maps (B, C_s, H_s, W_s)."""
        count = 0
        sums = [torch.zeros(centre.shape, dtype=torch.float64) for centre in self.centres]
        products = [torch.zeros(w.shape, dtype=torch.float64) for w in self.whitenings]
        for batch in normals:
            count += len(batch[0])
            for scale, deviation in enumerate(batch):
                values = deviation.cpu().double()
                sums[scale] += values.sum(dim=0)
                flat = values.transpose(0, 1).flatten(1)
                products[scale] += flat @ flat.T
        for scale, (total, product) in enumerate(zip(sums, products, strict=True)):
            mean = (total / count).flatten(1)
            covariance = product / (count * mean.shape[1]) - mean @ mean.T / mean.shape[1]
            ridge = covariance.diagonal().mean().clamp(min=1e-12) * _RIDGE
            factor = torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance)))
            unit = torch.eye(len(factor), dtype=factor.dtype)
            inverse = torch.linalg.solve_triangular(factor, unit, upper=False)
            self.centres[scale].copy_(total / count)
            self.whitenings[scale].copy_(inverse)

    @torch.no_grad()
    def calibrate(self, unseen: Iterable[Sequence[Tensor]]) -> None:
        """Take level and width from batches of deviation maps of unseen normals."""
        parts = [self.distances(batch) for batch in unseen]
        for scale, distances in enumerate(zip(*parts, strict=True)):
            values = torch.cat(distances)
            self.level[scale], self.width[scale] = values.mean(), values.std().clamp(min=1e-8)

    def distances(self, deviations: Sequence[Tensor]) -> list[Tensor]:
        """Distance at each place, (B, H_s, W_s) a scale."""
        return [
            torch.linalg.vector_norm(
                torch.einsum("dc,bchw->bdhw", whitening, deviation - centre), dim=1
            )
            for centre, whitening, deviation in zip(
                self.centres, self.whitenings, deviations, strict=True
            )
        ]

    @staticmethod
    def of(tensors: dict[str, Tensor]) -> UsualPlaces:
        """Those of a state dict."""
        scales = len(tensors["level"])
        shapes = [tuple(tensors[f"centres.{scale}"].shape) for scale in range(scales)]
        places = UsualPlaces([(c, h, w) for c, h, w in shapes])
        places.load_state_dict(tensors)
        return places

    def forward(self, deviations: Sequence[Tensor]) -> list[Tensor]:
        """Distances in standard deviations of unseen normals, 0 being their mean."""
        return [
            (distance - level) / width
            for distance, level, width in zip(
                self.distances(deviations), self.level, self.width, strict=True
            )
        ]


def _fixed(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)
