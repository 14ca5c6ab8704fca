"""The losses of stage 1 (Eq. 2 to 4) and of stage 2 (Eq. 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.network.memory import HopfieldMemory, gated_recollection

_COVERED = 0.1
"""Share of a place from which on a patch is to be told there."""


def contrasted_memory_loss(
    recollected: Tensor,
    other: Tensor,
    label: Tensor,
    *,
    temperature: float,
    soft_class: float = 0.0,
) -> Tensor:
    """NT-Xent between recollections of the first view and features of the second (Eq. 2).

    The 2B representations of both views are compared by cosine similarity over ``temperature``;
    the denominator holds everything but the anchor. At ``soft_class`` 0 each of the 2B rows is an
    anchor and its only positive is its other view: the paper. Above 0, only normals are anchors,
    and beside the own view (weight 1) all other normals of the batch share ``soft_class`` of
    positive weight: the normals are softly one class, and anomalies are only negatives.

    Args:
        recollected: Mem(z, t) of the first view, (B, ..., C).
        other: z' of the second view, same shape. Axes between are places, each contrasted by
            itself and averaged.
        label: (B,), 0 normal, 1 anomalous.
        temperature: tau, above 0.
        soft_class: Positive weight shared by the other normals, 0 or above.

    Returns:
        Scalar, the mean over anchors and places; 0 where there is no anchor.
    """
    count = len(label)
    both = torch.cat([recollected.float(), other.float()])
    rows = functional.normalize(both, dim=-1).reshape(2 * count, -1, both.shape[-1]).transpose(0, 1)
    normal = (label == 0).repeat(2)
    anchors = torch.arange(2 * count, device=label.device)
    if soft_class > 0:
        anchors = anchors[normal]
    if len(anchors) == 0:
        return both.sum() * 0.0
    logits = rows[:, anchors] @ rows.transpose(1, 2) / temperature
    own = functional.one_hot(anchors, 2 * count).bool()
    logits = logits.masked_fill(own, float("-inf"))
    log_share = logits - logits.logsumexp(dim=-1, keepdim=True)
    view = (anchors + count) % (2 * count)
    own_view = log_share[:, torch.arange(len(anchors), device=label.device), view]
    if soft_class == 0 or len(anchors) < 4:
        return -own_view.mean()
    class_sum = (log_share.masked_fill(own, 0.0) * normal).sum(dim=-1) - own_view
    others = len(anchors) - 2
    return -((own_view + soft_class / others * class_sum) / (1 + soft_class)).mean()


def variance_loss(recollected: Tensor) -> Tensor:
    """Minus the standard deviation of what the memory returned for normals (Eq. 3).

    Per channel over the samples, then the mean over channels and places. Keeps the prototypes
    from collapsing into one point.

    Args:
        recollected: Recollections of normal samples, (B, ..., C).

    Returns:
        Scalar at most 0; exactly 0 with fewer than two samples.
    """
    if len(recollected) < 2:
        return recollected.sum() * 0.0
    return -(recollected.float().var(dim=0) + 1e-8).sqrt().mean()


def scale_weights(scales: int, form: str) -> list[float]:
    """Lambda of each scale, shallow to deep: 2^(s-1), or s for the linear form (section 3.2)."""
    return [float(2**s if form == "exponential" else s + 1) for s in range(scales)]


def multi_scale_loss(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    label: Tensor,
    memories: Sequence[HopfieldMemory],
    *,
    sampling_ratios: Sequence[float],
    weights: Sequence[float],
    temperature: float,
    variance_weight: float,
    soft_class: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Contrasted memory and variance loss over a sample of places of every scale (Eq. 4).

    At scale s, floor(H W r) places (at least one) are drawn without replacement, the same in both
    views; the loss is ``sum_s lambda_s mean_places (L_contrast + lambda_V L_variance)``.

    Args:
        first: Feature maps (B, C, H, W) of the first view, shallow to deep.
        second: Feature maps of the second view.
        label: (B,), 0 normal, 1 anomalous.
        memories: One memory a scale.
        sampling_ratios: r of each scale, in (0, 1].
        weights: lambda of each scale.
        temperature: tau of the contrast.
        variance_weight: lambda_V.
        soft_class: See :func:`contrasted_memory_loss`.
        generator: Draws the places; on the CPU.

    Returns:
        Scalar.
    """
    total = first[0].new_zeros((), dtype=torch.float32)
    for one, two, memory, ratio, weight in zip(
        first, second, memories, sampling_ratios, weights, strict=True
    ):
        area = one.shape[2] * one.shape[3]
        places = torch.randperm(area, generator=generator)[: max(1, int(area * ratio + 1e-9))]
        places = places.to(one.device)
        query, other = (m.permute(0, 2, 3, 1).flatten(1, 2)[:, places] for m in (one, two))
        recollected = gated_recollection(memory, query, label)
        contrast = contrasted_memory_loss(
            recollected, other, label, temperature=temperature, soft_class=soft_class
        )
        spread = variance_loss(recollected[label == 0])
        total = total + weight * (contrast + variance_weight * spread)
    return total


def kind_loss(
    maps: Sequence[Tensor], kind: Tensor, heads: Iterable[nn.Module], weights: Sequence[float]
) -> Tensor:
    """Cross-entropy of telling the kinds of images apart, at every scale.

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
    maps: Sequence[Tensor], patch: Tensor, heads: Iterable[nn.Module], weights: Sequence[float]
) -> Tensor:
    """Focal loss of telling the places of pasted patches from all others, at every scale.

    ``sum_s lambda_s mean_places (1 - p)^2 (-log p)``, p the probability of what the place is: a
    patch, if one covers more than a tenth of it, or not (Lin et al., ICCV 2017). Patches that are
    seen at once, as among images that have little in common, so weigh little; those that hide in
    a surface weigh most. The places of patches together weigh as much as all others.

    Args:
        maps: Feature maps (B, C, H, W), shallow to deep.
        patch: (B, 1, height, width) at the size of the images, 1 inside a patch, else 0.
        heads: One a scale, from (B, C, H, W) to logits (B, 1, H, W).
        weights: lambda of each scale.

    Returns:
        Scalar.
    """
    total = maps[0].new_zeros((), dtype=torch.float32)
    for features, head, weight in zip(maps, heads, weights, strict=True):
        height, width = features.shape[2:]
        covered = functional.adaptive_avg_pool2d(patch, (height, width))
        target = (covered > _COVERED).float()
        share = target.mean().clamp(0.01, 0.99)
        balance = torch.where(target == 1, 0.5 / share, 0.5 / (1 - share))
        surprise = functional.binary_cross_entropy_with_logits(
            head(features).float(), target, reduction="none"
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
    """
    anomalous = label.view(-1, *[1] * (distance.dim() - 1)).bool()
    pull = functional.relu(distance - 1 / margin)
    push = functional.relu(margin - distance)
    return torch.where(anomalous, push, pull)
