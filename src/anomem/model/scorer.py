"""The scorer: from deviations to one score, with the one-class score as its prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.model.features import Features
from anomem.model.one_class import MemoryOfImages, RememberedImages
from anomem.model.whole_image import WholeImages

_LEAST_SPREAD = 1e-3
"""Of the size of a term, the least that normals are taken to vary by."""
_LEARNT_PRIOR = 100
"""Labelled anomalies of stage 1 at which its evidence has a quarter of its weight: a network that
has seen them tells those it has not seen less well."""


class Heads(nn.Module):
    """Maps the pooled deviation of each scale to a distance d (Eq. 7).

    Args:
        widths: Length C_s of what is pooled at each scale.
        hidden: Width of the hidden layer (ReLU) of a two-layer MLP, the paper's; None is linear.

    Example:
        >>> heads = Heads((8, 16), hidden=None)
        >>> heads(torch.randn(5, 8 + 16)).shape
        torch.Size([5, 2])

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
        """Measure the distance of each scale.

        Args:
            pooled: Pooled deviations of all scales side by side, (B, sum C_s); what stands behind
                them is not looked at.

        Returns:
            (B, S).
        """
        standard = (pooled[:, : len(self.mean)].to(self.mean.dtype) - self.mean) / self.std
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
        spread = held_out.std(correction=0 if len(held_out) == 1 else 1)
        self.std.copy_(_at_least(spread, self.mean))

    def of_others(self, held_out: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Take mean and standard deviation over the normals of all other groups, for each normal.

        Args:
            held_out: The term (N,) of the held-out normals that these units are fitted on.
            group: (N,) int64, of each.

        Returns:
            Two (N,); those of all normals where the other groups have fewer than two.
        """
        centred = held_out.double() - held_out.double().mean()
        member = group.unique(return_inverse=True)[1]
        sums = torch.stack([torch.ones_like(centred), centred, centred.square()])
        own = torch.zeros(3, len(group), dtype=torch.float64).index_add_(1, member, sums)
        count, total, squares = sums.sum(dim=1, keepdim=True) - own[:, member]
        mean = total / count.clamp(min=1)
        variance = (squares - count * mean.square()) / (count - 1).clamp(min=1)
        mean = (mean + held_out.double().mean()).to(held_out.dtype)
        spread = _at_least(variance.clamp(min=0).sqrt().to(held_out.dtype), mean)
        alone = count < 2
        return self.mean.where(alone, mean), self.std.where(alone, spread)

    def forward(self, term: Tensor) -> Tensor:
        """Bring the term (B,) of images to these units."""
        units: Tensor = (term - self.mean) / self.std
        return units


def _at_least(spread: Tensor, mean: Tensor) -> Tensor:
    """Where all normals are alike, nothing is known of their spread but the size of the term."""
    return spread.maximum((_LEAST_SPREAD * mean.abs()).clamp(min=1e-8))


class Scorer(nn.Module):
    """Makes one score of the scale scores and the heads.

    The one-class score is the mean of the scale scores weighted by lambda (Eq. 9), or in its place
    the Mahalanobis distance of the pooled deviations, less what normals that are remembered explain
    of it. How unusual the places are that are most so, or the whole image, adds to it where that is
    chosen. Labelled
    normals join the normals that this distance is from. Labelled anomalies that
    stage 1 learnt from add what the evidence of its heads tells (:func:`added`), with a weight that
    grows with their number n, ``(n / (n + 100))^2``; those labelled since add what the heads of
    stage 2 tell, with ``n / (n + prior)``. Beside the Mahalanobis distance labelled anomalies are
    remembered: there the second has half its weight, and how much more an image is like the most
    similar of them than like normals has half of ``n / (n + prior)``, n being the number of all
    labelled anomalies. Each term is in standard deviations of held-out normals before it is
    weighed. With no label the one-class score is returned exactly,
    and no anomalous label takes anything from it, whatever the image: what is unlike all labelled
    anomalies keeps its one-class score. Without a prior the fused distance alone is the score as
    soon as there is an anomalous label, as it is: the paper.

    Args:
        heads: Trained by stage 2.
        lambdas: Weight of each scale.
        prior: Number of anomalies labelled since stage 1 at which the heads have half their weight,
            or None.
        mahalanobis: Take the Mahalanobis distance in place of the scale scores; not by default.
        neighbours: Remembered images that an image is compared with, 2 by default; with 0 none is
            remembered, and labels count by heads alone.

    Attributes:
        beside: Weight of what features hold beside (the places that are most unusual, or the whole
            image), a scalar; 0 until :meth:`fit_normals`.
        whole: What is usual of whole images, where they count; else None. It is not part of the
            state, as a model keeps what it is made of.
        one_class_units: Of the one-class score, without what is beside.
        beside_units: Of what is beside.
        evidence_units: Of the evidence of stage 1.
        stage2_units: Of the fused distance of stage 2 (its log-odds).
        likeness_units: Of the likeness to labelled anomalies.
        labels: Number of labelled anomalies that the heads were trained on.
        learnt: Number of labelled anomalies that stage 1 learnt from.

    Example:
        >>> heads = Heads((8, 16), hidden=None)
        >>> scorer = Scorer(heads, lambdas=(1.0, 2.0), prior=30.0, mahalanobis=True)
        >>> def seen(pooled):
        ...     none = torch.zeros(len(pooled), 2)
        ...     return Features(torch.rand(len(pooled), 2), pooled, none, none[:, 0])
        >>> held_out, odd = seen(torch.randn(50, 24)), seen(torch.randn(1, 24) + 5)
        >>> scorer.fit_normals(torch.randn(200, 24), held_out)
        >>> bool(scorer(odd) > scorer(held_out).max())
        True
    """

    beside: Tensor
    labels: Tensor
    learnt: Tensor

    def __init__(
        self,
        heads: Heads,
        lambdas: Sequence[float],
        prior: float | None,
        *,
        mahalanobis: bool = False,
        neighbours: int = 2,
    ) -> None:
        super().__init__()
        self.heads, self.lambdas, self.prior = heads, tuple(lambdas), prior
        self.mahalanobis = MemoryOfImages(sum(heads.widths), neighbours) if mahalanobis else None
        self.whole: WholeImages | None = None
        self.one_class_units = HeldOutUnits()
        self.beside_units = HeldOutUnits()
        self.evidence_units = HeldOutUnits()
        self.stage2_units = HeldOutUnits()
        self.likeness_units = HeldOutUnits()
        self.register_buffer("beside", torch.zeros(()))
        self.register_buffer("labels", torch.zeros((), dtype=torch.int64))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fit_normals(
        self,
        normals: Tensor,
        held_out: Features,
        remembered: RememberedImages | None = None,
        weighing: Tensor | None = None,
        beside: float = 0.0,
    ) -> None:
        """Learn what is usual, and what the evidence is of what is usual.

        Args:
            normals: Pooled deviations of those trained on or labelled, (N, sum C_s), N at least 2.
            held_out: Held-out normals, at least one.
            remembered: Without held-out normals, which would explain themselves. Left out, all
                normals are remembered as trained on.
            weighing: Pooled deviations of all held-out normals, whatever they were labelled since,
                so that labels do not change how much directions count. Left out, ``held_out``.
            beside: Weight of what features hold beside, 0 by default.
        """
        self.beside.fill_(beside)
        if self.mahalanobis is not None:
            trained = normals if remembered is None else remembered.trained
            self.mahalanobis.fit(trained)
            self.mahalanobis.weigh(held_out.pooled if weighing is None else weighing)
            if len(normals) > len(trained):
                self.mahalanobis.fit(normals)
            if remembered is not None:
                self.mahalanobis.remember(remembered)
        self.one_class_units.fit(self._deviates(held_out))
        self.beside_units.fit(held_out.beside)
        self.evidence_units.fit(fuse(held_out.evidence, self.lambdas))
        self.likeness_units.fit(self._likeness(held_out))

    def remember(self, images: RememberedImages) -> None:
        """Recall images as a fit with them did."""
        if self.mahalanobis is not None:
            self.mahalanobis.remember(images)

    @torch.no_grad()
    def fit_heads(self, held_out: Features) -> None:
        """Learn what the heads, trained by stage 2, say of held-out normals, at least one."""
        self.stage2_units.fit(self._distance(held_out))

    def one_class(self, features: Features) -> Tensor:
        """Give the one-class score (B,)."""
        score: Tensor = self.one_class_units(self._deviates(features))
        return score + self.of_beside(features) if float(self.beside) else score

    def of_beside(self, features: Features) -> Tensor:
        """Give what the most unusual places, or the whole image, add to the score, (B,)."""
        beside = features.beside
        if self.whole is not None:
            beside = self.whole(features.pooled[:, len(self.heads.mean) :])
        added: Tensor = self.beside * self.beside_units(beside.to(features.scores.dtype))
        return added

    def forward(self, features: Features) -> Tensor:
        """Give the score (B,), higher is more anomalous."""
        if int(self.labels) == 0:
            return self.one_class(features)
        distance = self._distance(features)
        if self.prior is None:
            return distance
        return self.one_class(features) + self._by_labels(
            self.prior,
            self.evidence_units(fuse(features.evidence, self.lambdas)),
            self.stage2_units(distance),
            self.likeness_units(self._likeness(features)),
        )

    @torch.no_grad()
    def of_held_out(self, held_out: Features, group: Tensor, other: Scorer) -> Tensor:
        """Score the held-out normals as another scorer tells each, in units of this one.

        A new image has no part in the units of the terms. So that its score and theirs may be
        compared, what is beside and what labels add to a held-out normal is in units that its group
        has no part in.

        Args:
            held_out: The N normals that the units were fitted on.
            group: (N,) int64, of each.
            other: This one, or one that is trained without the labels of some of them.

        Returns:
            (N,).
        """

        def as_new(units: HeldOutUnits, own: Tensor, by_other: Tensor) -> Tensor:
            mean, std = units.of_others(own, group)
            return (by_other - mean) / std

        one_class = self.one_class_units(other._deviates(held_out))
        _, usual = self.one_class_units.of_others(self._deviates(held_out), group)
        relative = usual / self.one_class_units.std
        if float(self.beside):
            unusual = as_new(self.beside_units, held_out.beside, held_out.beside)
            one_class = one_class + relative * self.beside * unusual
        if int(self.labels) == 0:
            return one_class
        if self.prior is None:
            return other._distance(held_out)
        evidence = fuse(held_out.evidence, self.lambdas)
        terms = (
            (self.evidence_units, evidence, evidence),
            (self.stage2_units, self._distance(held_out), other._distance(held_out)),
            (self.likeness_units, self._likeness(held_out), other._likeness(held_out)),
        )
        by_labels = self._by_labels(self.prior, *(as_new(*term) for term in terms))
        return one_class + relative * by_labels

    def _by_labels(self, prior: float, evidence: Tensor, told: Tensor, likeness: Tensor) -> Tensor:
        labels, learnt = int(self.labels), int(self.learnt)
        since = labels - learnt
        by_stage_1 = (learnt / (learnt + _LEARNT_PRIOR)) ** 2 * added(evidence)
        by_stage_2 = since / (since + prior) * added(told)
        if self.mahalanobis is None or len(self.mahalanobis.anomalous) == 0:
            return by_stage_1 + by_stage_2
        by_likeness = labels / (labels + prior) * added(likeness)
        return by_stage_1 + (by_stage_2 + by_likeness) / 2

    def _deviates(self, features: Features) -> Tensor:
        if self.mahalanobis is None:
            return fuse(features.scores, self.lambdas)
        distance: Tensor = self.mahalanobis(features.pooled)
        return distance

    def _likeness(self, features: Features) -> Tensor:
        if self.mahalanobis is None:
            return torch.zeros_like(features.pooled[:, 0])
        return self.mahalanobis.likeness(features.pooled)

    def _distance(self, features: Features) -> Tensor:
        return fuse(self.heads(features.pooled), self.lambdas)


def added(told: Tensor) -> Tensor:
    """Give what labels add to the score by what heads tell, in deviations of held-out normals.

    ``2 softplus(2 told - 2)``, never below 0: they raise what looks like a labelled anomaly and
    lower nothing, as what looks like none may be one of another kind. A usual normal (told 0) is
    raised by .26, so against it no image loses more than that, times the weight of the labels.
    Normals that look like labelled anomalies are raised too, and so are thresholds
    (docs/lab-book/recipe.md).
    """
    return 2 * functional.softplus(2 * told - 2)


def fuse(scores: Tensor, lambdas: Sequence[float]) -> Tensor:
    """Average the scale scores (B, S), weighted by lambda (Eq. 9), (B,)."""
    weights = torch.tensor(lambdas, dtype=scores.dtype, device=scores.device)
    return scores @ weights / weights.sum()
