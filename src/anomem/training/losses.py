"""The losses of stage 1 (Eq. 2 to 4) and of stage 2 (Eq. 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.config import LossChoices
from anomem.model.memory import HopfieldMemory, gated_recollection
from anomem.training.ranks import ALONE, Ranks

_COVERED = 0.1
"""Share of a place from which on a patch is to be told there."""


def contrasted_memory_loss(
    recollected: Tensor,
    other: Tensor,
    *,
    normals: int,
    temperature: float,
    soft_class: float = 0.0,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Contrast recollections of the first view with features of the second (Eq. 2, NT-Xent).

    The 2B representations of both views are compared by cosine similarity over ``temperature``;
    the denominator holds everything but the anchor. At ``soft_class`` 0 each of the 2B rows is an
    anchor and its only positive is its other view: the paper. Above 0, only normals are anchors,
    and beside the own view (weight 1) all other normals of the batch share ``soft_class`` of
    positive weight: the normals are softly one class, and anomalies are only negatives.

    Args:
        recollected: Mem(z, t) of the first view, (B, ..., C).
        other: z' of the second view, same shape. Axes between are places, each contrasted by
            itself and averaged.
        normals: Of the B, the first so many are normal and all others anomalous.
        temperature: tau, above 0.
        soft_class: Positive weight shared by the other normals, 0 (the default) or above.
        ranks: Processes that each have such rows of one batch. The anchors are the own rows, so
            that memory grows with the batch and not with its square; they are compared with the
            rows of all, and the loss of the batch is the mean of what each returns.

    Returns:
        Scalar, the mean over anchors and places; 0 where there is no anchor.

    Example:
        >>> view = torch.eye(4)  # four images that have nothing in common
        >>> loss = contrasted_memory_loss(view, view, normals=4, temperature=0.1)
        >>> round(float(loss), 4)
        0.0003
    """
    anchors = normals if soft_class > 0 else len(recollected)
    if anchors == 0:
        return (recollected.sum() + other.sum()) * 0.0
    own = _directions(recollected, other)
    everything = _of_all(own, ranks)
    return _attraction(own, everything, anchors, temperature, soft_class, ranks)


def _attraction(
    own: Tensor,
    everything: Tensor,
    anchors: int,
    temperature: float,
    soft_class: float,
    ranks: Ranks,
) -> Tensor:
    """Contrast the first so many rows of both views with their positives, of all processes.

    Args:
        own: As of :func:`_directions`.
        everything: As of :func:`_of_all`.
        anchors: How many of the B, at least one.
        temperature: As of :func:`contrasted_memory_loss`, as are all below.
        soft_class: Where the anchors are normals.
        ranks: Processes.
    """
    logits = _to_all_others(own, everything, slice(anchors), temperature, ranks)
    one, two = own[:, :, :anchors].unbind(dim=1)
    both = torch.cat([one, two], 1)
    own_view = 2 * (one * two).sum()
    positive = own_view
    others = 2 * ranks.world * anchors - 2
    if soft_class > 0 and others > 0:
        # The similarities of all pairs are those to the sum: no pass over the pairs.
        own_sum = both.sum(dim=1)
        pairs = (own_sum * ranks.total(own_sum)).sum() - both.square().sum()
        in_class = (pairs - own_view) / others
        positive = (own_view + soft_class * in_class) / (1 + soft_class)
    return logits.logsumexp(dim=-1).mean() - positive / temperature / logits[..., 0].numel()


def repulsion_loss(
    first: Tensor,
    other: Tensor,
    *,
    normals: int,
    temperature: float,
    soft_class: float,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Contrast both views as they are; each anomaly repels normals and all other anomalies.

    To :func:`contrasted_memory_loss` of the features themselves, in which normals are softly one
    class, NT-Xent of the anomalies is added: what tells one from another is then in the features,
    and not only what tells them from normals. After FIRM (arXiv 2501.05130).

    Args:
        first: z of the first view, (B, ..., C).
        other: z' of the second view, same shape.
        normals: As of :func:`contrasted_memory_loss`, as are all below.
        temperature: tau.
        soft_class: Above 0.
        ranks: Processes.

    Returns:
        Scalar: the mean over normals and places, and that over anomalies and places.

    Example:
        >>> view = torch.eye(4)
        >>> round(float(repulsion_loss(view, view, normals=1, temperature=0.1, soft_class=1.0)), 4)
        0.0005
    """
    loss, own = (first.sum() + other.sum()) * 0.0, _directions(first, other)
    everything = _of_all(own, ranks)
    if normals > 0:
        loss = _attraction(own, everything, normals, temperature, soft_class, ranks)
    if normals < len(first):
        logits = _to_all_others(own, everything, slice(normals, None), temperature, ranks)
        one, two = own[:, :, normals:].unbind(dim=1)
        loss = loss + logits.logsumexp(dim=-1).mean()
        loss = loss - (one * two).sum(dim=-1).mean() / temperature
    return loss


def _directions(recollected: Tensor, other: Tensor) -> Tensor:
    """Both views at unit length, place by place: (places, 2, B, C)."""
    views = [
        functional.normalize(rows.float(), dim=-1)
        .reshape(len(rows), -1, rows.shape[-1])
        .transpose(0, 1)
        for rows in (recollected, other)
    ]
    return torch.stack(views, dim=1)


def _of_all(own: Tensor, ranks: Ranks) -> Tensor:
    """Rows of both views of all processes, (places, 2 world B, C), of own (places, 2, B, C)."""
    return ranks.gathered(own).permute(1, 2, 0, 3, 4).flatten(1, 3)


def _to_all_others(
    own: Tensor, everything: Tensor, anchors: slice, temperature: float, ranks: Ranks
) -> Tensor:
    """Similarity of anchors of both views to the rows of all processes, over the temperature.

    Args:
        own: (places, 2, B, C).
        everything: Rows of all processes, as of :func:`_of_all`.
        anchors: Which of the B.
        temperature: tau.
        ranks: The processes.

    Returns:
        (places, 2 A, 2 world B), minus infinity where an anchor meets itself.
    """
    both, count = own[:, :, anchors], own.shape[2]
    oneself = torch.zeros(2, both.shape[2], 2, ranks.world, count, device=own.device)
    for view in range(2):
        oneself[view, :, view, ranks.rank][:, anchors].fill_diagonal_(float("-inf"))
    oneself = oneself.flatten(0, 1).flatten(1)
    return torch.baddbmm(oneself, both.flatten(1, 2), everything.mT, alpha=1 / temperature)


def variance_loss(recollected: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Take minus the standard deviation of what the memory returned for normals (Eq. 3).

    Per channel over the samples, then the mean over channels and places. Keeps the prototypes
    from collapsing into one point.

    Args:
        recollected: Recollections of normal samples, (B, ..., C).
        ranks: Processes that each have such samples of one batch; all return its loss.

    Returns:
        Scalar at most 0; exactly 0 with fewer than two samples.

    Example:
        >>> variance_loss(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
        tensor(-1.0000)
    """
    count = ranks.world * len(recollected)
    if count < 2:
        return recollected.sum() * 0.0
    samples = recollected.float()
    mean = ranks.total(samples.sum(dim=0)) / count
    variance = ranks.total((samples - mean).square().sum(dim=0)) / (count - 1)
    return -(variance + 1e-8).sqrt().mean()


@dataclass(frozen=True)
class ScaleLoss:
    """Holds the term of a scale in Eq. 4, and what it was made of.

    Attributes:
        weighted: ``lambda_s (L_contrast + lambda_V L_variance)``, the mean over places, and the
            repulsion; scalar.
        contrast: L_contrast, scalar.
        query: Features of the normals of the first view at the places drawn, (B, places, C).
        recollected: What the memory returned for them, (B, places, C).
    """

    weighted: Tensor
    contrast: Tensor
    query: Tensor
    recollected: Tensor


def multi_scale_loss(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    normals: int,
    memories: Sequence[HopfieldMemory],
    choices: LossChoices,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Add contrasted memory and variance loss over a sample of places of every scale (Eq. 4).

    The sum of the terms of :func:`scale_losses`, whose arguments it takes.

    Returns:
        Scalar.

    Example:
        >>> first, second = ([torch.randn(6, 4, 8, 8), torch.randn(6, 8, 4, 4)] for _ in range(2))
        >>> memories = [HopfieldMemory(16, 4, beta=10.0), HopfieldMemory(8, 8, beta=10.0)]
        >>> draws = torch.Generator().manual_seed(0)
        >>> multi_scale_loss(first, second, 5, memories, LossChoices(), draws).backward()
        >>> [memory.prototypes.grad.shape for memory in memories]
        [torch.Size([16, 4]), torch.Size([8, 8])]
    """
    return total_loss(scale_losses(first, second, normals, memories, choices, generator, ranks))


def total_loss(losses: Sequence[ScaleLoss]) -> Tensor:
    """Add the terms of all scales."""
    return torch.stack([loss.weighted for loss in losses]).sum()


def scale_losses(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    normals: int,
    memories: Sequence[HopfieldMemory],
    choices: LossChoices,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> list[ScaleLoss]:
    """Make the term of each scale in the multi-scale contrasted memory loss (Eq. 4).

    At scale s, floor(H W r) places (at least one) are drawn without replacement, the same in both
    views. Eq. 4 sums ``lambda_s (L_contrast + lambda_V L_variance)`` over scales and places and
    divides by the number of places drawn at all scales, so that a scale of more places weighs more;
    with ``mean_by_scale`` each scale is divided by its own number instead.

    Args:
        first: Feature maps (B, C, H, W) of the first view, shallow to deep.
        second: Feature maps of the second view.
        normals: Of the B, the first so many are normal and all others anomalous.
        memories: One memory a scale.
        choices: r of each scale, form of lambda, tau, lambda_V, soft class, repulsion, what is
            divided by.
        generator: Draws the places; on the device of the maps, in the same state on all ranks.
        ranks: Processes that each have such maps of one batch.

    Returns:
        One a scale, shallow to deep.
    """
    losses = []
    weights: Sequence[float] = choices.lambdas
    counts = [
        max(1, int(maps[0, 0].numel() * ratio + 1e-9))
        for maps, ratio in zip(first, choices.sampling_ratios, strict=True)
    ]
    if not choices.mean_by_scale:
        weights = [w * count / sum(counts) for w, count in zip(weights, counts, strict=True)]
    for one, two, memory, count, weight in zip(
        first, second, memories, counts, weights, strict=True
    ):
        query, other = (maps.permute(0, 2, 3, 1).flatten(1, 2) for maps in (one, two))
        area = query.shape[1]
        if count < area:
            drawn = torch.randperm(area, generator=generator, device=query.device)[:count]
            query, other = query.index_select(1, drawn), other.index_select(1, drawn)
        recollected = gated_recollection(memory, query, normals)
        contrast = contrasted_memory_loss(
            recollected,
            other,
            normals=normals,
            temperature=choices.temperature,
            soft_class=choices.soft_class,
            ranks=ranks,
        )
        spread = variance_loss(recollected[:normals], ranks)
        weighted = weight * (contrast + choices.variance_weight * spread)
        if choices.repulsion and normals < len(query):
            repelled = repulsion_loss(
                query,
                other,
                normals=normals,
                temperature=choices.temperature,
                soft_class=choices.soft_class,
                ranks=ranks,
            )
            weighted = weighted + weight * choices.repulsion * repelled
        losses.append(ScaleLoss(weighted, contrast, query[:normals], recollected[:normals]))
    return losses


def kind_loss(
    maps: Sequence[Tensor], kind: Tensor, heads: Iterable[nn.Module], weights: Sequence[float]
) -> Tensor:
    """Measure by cross-entropy how well the kinds of images are told apart, at every scale.

    After rotation prediction (Gidaris et al., ICLR 2018), with labelled anomalies as one more
    kind: ``sum_s lambda_s CE(head_s(mean of z over its places), kind)``.

    Args:
        maps: Feature maps (B, C, H, W), shallow to deep.
        kind: (B,), index of the kind of each image.
        heads: One a scale, from (B, C) to logits.
        weights: lambda of each scale.

    Returns:
        Scalar.
    """
    total = maps[0].new_zeros((), dtype=torch.float32)
    for features, head, weight in zip(maps, heads, weights, strict=True):
        logits = head(features.mean(dim=(2, 3)).float())
        total = total + weight * functional.cross_entropy(logits, kind)
    return total


def patch_loss(
    maps: Sequence[Tensor],
    patch: Tensor,
    heads: Iterable[nn.Module],
    weights: Sequence[float],
    ranks: Ranks = ALONE,
) -> Tensor:
    """Measure by focal loss how well places of pasted patches are told from others, at every scale.

    ``sum_s lambda_s mean_places (1 - p)^2 (-log p)``, p the probability of what the place is: a
    patch, if one covers more than a tenth of it, or not (Lin et al., ICCV 2017). Patches that are
    seen at once, as among images that have little in common, so weigh little; those that hide in
    a surface weigh most. The places of patches together weigh as much as all others.

    Args:
        maps: Feature maps (B, C, H, W), shallow to deep.
        patch: (B, 1, height, width) at the size of the images, 1 inside a patch, else 0.
        heads: One a scale, from (..., C) to logits (..., 1).
        weights: lambda of each scale.
        ranks: Processes that each have such maps of one batch.

    Returns:
        Scalar.
    """
    total = maps[0].new_zeros((), dtype=torch.float32)
    for features, head, weight in zip(maps, heads, weights, strict=True):
        height, width = features.shape[2:]
        covered = functional.adaptive_avg_pool2d(patch, (height, width))
        target = (covered > _COVERED).float().permute(0, 2, 3, 1)
        share = ranks.mean(target.mean()).clamp(0.01, 0.99)
        balance = torch.where(target == 1, 0.5 / share, 0.5 / (1 - share))
        surprise = functional.binary_cross_entropy_with_logits(
            head(features.permute(0, 2, 3, 1)).float(), target, reduction="none"
        )
        unsure = 1 - torch.exp(-surprise)
        total = total + weight * (balance * unsure**2 * surprise).mean()
    return total


def double_hinge(distance: Tensor, label: Tensor, margin: float) -> Tensor:
    """Pull normals below 1 / M and push anomalies above M (Eq. 8).

    Args:
        distance: d, any shape whose first axis is the batch.
        label: (B,), 0 normal, 1 anomalous.
        margin: M, above 0.

    Returns:
        Loss of each element, in the shape of ``distance``.

    Example:
        >>> distance = torch.tensor([0.4, 3.0, 0.4, 3.0])
        >>> double_hinge(distance, torch.tensor([0, 0, 1, 1]), margin=2.0)
        tensor([0.0000, 2.5000, 1.6000, 0.0000])
    """
    anomalous = label.view(-1, *[1] * (distance.dim() - 1)).bool()
    pull = functional.relu(distance - 1 / margin)
    push = functional.relu(margin - distance)
    return torch.where(anomalous, push, pull)
