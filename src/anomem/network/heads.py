"""The detector: from deviations to one score, with the one-class score as its prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.network.mahalanobis import Mahalanobis
from anomem.network.measured import Measured


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


class Detector(nn.Module):
    """One score from the scale scores and the heads.

    The one-class score is the mean of the scale scores weighted by lambda (Eq. 9), or in its place
    the Mahalanobis distance of the pooled deviations, in standard deviations of normals. Labelled
    normals join the normals that this distance is from. Labelled anomalies that stage 1 learnt from
    add the evidence of its heads, in standard deviations of held-out normals, with a weight that
    grows with their number n, ``n / (n + prior)``; those labelled since add what the heads of
    stage 2 say (:func:`added`), weighted alike. With no label the one-class score is returned
    exactly. Without a prior the fused distance alone is the score as soon as there is an anomalous
    label: the paper.

    Args:
        heads: Trained by stage 2.
        lambdas: Weight of each scale.
        prior: Number of labelled anomalies at which the heads have half their weight, or None.
        mahalanobis: Take the Mahalanobis distance in place of the scale scores.

    Attributes:
        mean: Mean of that score over normals, for the Mahalanobis distance as unseen ones have it.
        std: Its standard deviation.
        evidence_mean: Mean of the evidence over held-out normals.
        evidence_std: Its standard deviation.
        labels: Number of labelled anomalies that the heads were trained on.
        learnt: Number of labelled anomalies that stage 1 learnt from.
    """

    mean: Tensor
    std: Tensor
    evidence_mean: Tensor
    evidence_std: Tensor
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
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("evidence_mean", torch.zeros(()))
        self.register_buffer("evidence_std", torch.ones(()))
        self.register_buffer("labels", torch.zeros((), dtype=torch.int64))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fit_normals(self, normals: Measured, held_out: Measured, labelled: Measured) -> None:
        """Learn what is usual.

        Args:
            normals: Training normals, at least 4.
            held_out: Held-out normals, at least one.
            labelled: Labelled normals, any number.
        """
        if self.mahalanobis is None:
            usual = fuse(normals.scores, self.lambdas)
        else:
            all_normals = torch.cat([normals.pooled, labelled.pooled])
            self.mahalanobis.fit(all_normals)
            usual = self.mahalanobis.of_unseen(all_normals)[: len(normals)]
        evidence = fuse(held_out.evidence, self.lambdas)
        for level, spread, values in (
            (self.mean, self.std, usual),
            (self.evidence_mean, self.evidence_std, evidence),
        ):
            level.copy_(values.mean())
            spread.copy_(values.std(correction=0 if len(values) == 1 else 1).clamp(min=1e-8))

    def one_class(self, measured: Measured) -> Tensor:
        """The one-class score (B,)."""
        if self.mahalanobis is None:
            score = fuse(measured.scores, self.lambdas)
        else:
            score = self.mahalanobis(measured.pooled)
        return (score - self.mean) / self.std

    def forward(self, measured: Measured) -> Tensor:
        """The score (B,), higher is more anomalous."""
        labels = int(self.labels)
        if labels == 0:
            return self.one_class(measured)
        distance = fuse(self.heads(measured.pooled), self.lambdas)
        if self.prior is None:
            return distance
        learnt = int(self.learnt)
        since = labels - learnt
        evidence = (fuse(measured.evidence, self.lambdas) - self.evidence_mean) / self.evidence_std
        return (
            self.one_class(measured)
            + learnt / (learnt + self.prior) * evidence
            + since / (since + self.prior) * added(distance)
        )


def added(distance: Tensor) -> Tensor:
    """What labels since the fit add to the score by the fused distance of stage 2 (its log-odds).

    ``2 softplus(distance + 3)``: they raise what looks like a labelled anomaly, and hardly lower
    what looks like none, as it may be one of another kind (docs/recipe.md).
    """
    return 2 * functional.softplus(distance + 3)


def fuse(scores: Tensor, lambdas: Sequence[float]) -> Tensor:
    """Mean of the scale scores (B, S) weighted by lambda (Eq. 9), (B,)."""
    weights = torch.tensor(lambdas, dtype=scores.dtype, device=scores.device)
    return scores @ weights / weights.sum()
