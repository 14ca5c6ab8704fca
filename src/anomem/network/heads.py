"""The detector: from deviations to one score, with the one-class score as its prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.network.mahalanobis import Mahalanobis
from anomem.network.measured import Measured

_LEAST_SPREAD = 1e-3
"""Of the size of a term, the least that normals are taken to vary by."""


class Heads(nn.Module):
    """From the pooled deviation of each scale to a distance d (Eq. 7).

    Args:
        widths: Length C_s of what is pooled at each scale.
        hidden: Width of the hidden layer (ReLU) of a two-layer MLP, the paper's; None is linear.

    Attributes:
        mean: Mean of the pooled deviations of normals, (sum C_s,), taken off first.
        std: Their standard deviation, by which they are divided.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, widths: Sequence[int], hidden: int | None) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.scales = nn.ModuleList(
            nn.Linear(width, 1)
            if hidden is None
            else nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
            for width in widths
        )
        self.register_buffer("mean", torch.zeros(sum(widths)))
        self.register_buffer("std", torch.ones(sum(widths)))

    def forward(self, pooled: Tensor) -> Tensor:
        """Distance of each scale.

        Args:
            pooled: Pooled deviations of all scales side by side, (B, sum C_s).

        Returns:
            (B, S).
        """
        standard = (pooled.to(self.mean.dtype) - self.mean) / self.std
        parts = standard.split(self.widths, dim=1)
        return torch.cat([head(part) for head, part in zip(self.scales, parts, strict=True)], 1)


class HeldOutUnits(nn.Module):
    """Brings a term of the score to standard deviations of held-out normals.

    Attributes:
        mean: Mean of the term over held-out normals.
        std: Its standard deviation, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    @torch.no_grad()
    def fit(self, held_out: Tensor) -> None:
        """Take both from the term (N,) of held-out normals, N at least 1."""
        self.mean.copy_(held_out.mean())
        # Where all are alike nothing is known of the spread but the size of the term.
        least = max(_LEAST_SPREAD * abs(float(self.mean)), 1e-8)
        self.std.copy_(held_out.std(correction=0 if len(held_out) == 1 else 1).clamp(min=least))

    def forward(self, term: Tensor) -> Tensor:
        """The term (B,) of images, in these units."""
        units: Tensor = (term - self.mean) / self.std
        return units


class Detector(nn.Module):
    """One score from the scale scores and the heads.

    The one-class score is the mean of the scale scores weighted by lambda (Eq. 9), or in its place
    the Mahalanobis distance of the pooled deviations. Labelled normals join the normals that this
    distance is from. Labelled anomalies that stage 1 learnt from add the evidence of its heads,
    with a weight that grows with their number n, ``n / (n + prior)``; those labelled since add what
    the heads of stage 2 say (:func:`added`), weighted alike. Each of the three terms is in standard
    deviations of held-out normals before it is weighed. With no label the one-class score is
    returned exactly. Without a prior the fused distance alone is the score as soon as there is an
    anomalous label, as it is: the paper.

    Args:
        heads: Trained by stage 2.
        lambdas: Weight of each scale.
        prior: Number of labelled anomalies at which the heads have half their weight, or None.
        mahalanobis: Take the Mahalanobis distance in place of the scale scores.

    Attributes:
        usual: Units of the one-class score.
        evident: Units of the evidence.
        told: Units of the fused distance of stage 2 (its log-odds).
        labels: Number of labelled anomalies that the heads were trained on.
        learnt: Number of labelled anomalies that stage 1 learnt from.
    """

    labels: Tensor
    learnt: Tensor

    def __init__(
        self,
        heads: Heads,
        lambdas: Sequence[float],
        prior: float | None,
        *,
        mahalanobis: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.lambdas, self.prior = heads, tuple(lambdas), prior
        self.mahalanobis = Mahalanobis(sum(heads.widths)) if mahalanobis else None
        self.usual, self.evident, self.told = HeldOutUnits(), HeldOutUnits(), HeldOutUnits()
        self.register_buffer("labels", torch.zeros((), dtype=torch.int64))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fit_normals(self, normals: Tensor, held_out: Measured) -> None:
        """Learn what is usual, and what the evidence is of what is usual.

        Args:
            normals: Pooled deviations of those trained on or labelled, (N, sum C_s), N at least 2.
            held_out: Held-out normals, at least one.
        """
        if self.mahalanobis is not None:
            self.mahalanobis.fit(normals)
        self.usual.fit(self._deviates(held_out))
        self.evident.fit(fuse(held_out.evidence, self.lambdas))

    @torch.no_grad()
    def fit_heads(self, held_out: Measured) -> None:
        """Learn what the heads, trained by stage 2, say of held-out normals, at least one."""
        self.told.fit(self._distance(held_out))

    def one_class(self, measured: Measured) -> Tensor:
        """The one-class score (B,)."""
        score: Tensor = self.usual(self._deviates(measured))
        return score

    def forward(self, measured: Measured) -> Tensor:
        """The score (B,), higher is more anomalous."""
        labels = int(self.labels)
        if labels == 0:
            return self.one_class(measured)
        distance = self._distance(measured)
        if self.prior is None:
            return distance
        learnt = int(self.learnt)
        since = labels - learnt
        evidence = self.evident(fuse(measured.evidence, self.lambdas))
        return (
            self.one_class(measured)
            + learnt / (learnt + self.prior) * evidence
            + since / (since + self.prior) * added(self.told(distance))
        )

    def _deviates(self, measured: Measured) -> Tensor:
        if self.mahalanobis is None:
            return fuse(measured.scores, self.lambdas)
        distance: Tensor = self.mahalanobis(measured.pooled)
        return distance

    def _distance(self, measured: Measured) -> Tensor:
        return fuse(self.heads(measured.pooled), self.lambdas)


def added(told: Tensor) -> Tensor:
    """What labels since the fit add to the score by what stage 2 tells, in units of held-outs.

    ``2 softplus(2 told - 1)``: they raise what looks like a labelled anomaly, and hardly lower
    what looks like none, as it may be one of another kind (docs/recipe.md).
    """
    return 2 * functional.softplus(2 * told - 1)


def fuse(scores: Tensor, lambdas: Sequence[float]) -> Tensor:
    """Mean of the scale scores (B, S) weighted by lambda (Eq. 9), (B,)."""
    weights = torch.tensor(lambdas, dtype=scores.dtype, device=scores.device)
    return scores @ weights / weights.sum()
