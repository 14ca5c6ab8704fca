"""What each place of an image adds to its score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomem.model.features import Features
from anomem.model.network import MultiScaleMemory
from anomem.model.one_class import place_norms
from anomem.model.scorer import Scorer
from anomem.runtime.device import repeatable_kernels


@dataclass(frozen=True)
class Attribution:
    """A score, place by place: all maps summed, and the rest, are the score.

    Attributes:
        maps: Share of each place at each scale, (H_s, W_s) float32; below 0 where a place makes
            the image look more normal.
        rest: What no place has a part in; without labels it is the same for every image.
    """

    maps: tuple[Tensor, ...]
    rest: float


@dataclass(frozen=True)
class _View:
    """One of the forward passes of an image, and the way back to its places."""

    turned: bool
    mirrored: bool

    def of(self, images: Tensor) -> Tensor:
        turned = images.rot90(2, dims=(2, 3)) if self.turned else images
        return turned.flip(3) if self.mirrored else turned

    def undone(self, places: Tensor) -> Tensor:
        upright = places.flip(1) if self.mirrored else places
        return upright.rot90(2, dims=(0, 1)) if self.turned else upright


@dataclass(frozen=True)
class _Slopes:
    """How the score changes with what is measured of the image, and where normals lie.

    Attributes:
        scores: With the scale scores, (S,).
        pooled: With the pooled deviations, (sum C_s,).
        evidence: With the evidence of each scale, (S,).
        usual: Pooled deviations of normals, (sum C_s,).
    """

    scores: Tensor
    pooled: Tensor
    evidence: Tensor
    usual: Tensor


def attribution(
    network: MultiScaleMemory, scorer: Scorer, image: Tensor, features: Features
) -> Attribution:
    """Divide the score of an image among its places.

    Along its gradient g the score is linear in what is pooled: a Mahalanobis distance is
    ``g (pooled - centre)`` exactly, and what labels add is nearly so around the image. And
    what is pooled is a sum over the n places of a map: a mean of ``x / n``, a standard deviation
    s of ``(x - mean)^2 / (n s)``, a scale score e (Eq. 6) of ``d^2 / (n e)``.

    Args:
        network: In evaluation mode.
        scorer: In evaluation mode.
        image: (1, C, H, W), floats in [0, 1].
        features: Of the image, as ``extract`` gives it.
    """
    score, slopes = _slopes(scorer, features)
    views = list(_views(network))
    passes = 2 if network.mirrored else 1
    of_views = [_of_view(network, slopes, view, image) for view in views]
    maps = tuple(torch.stack(scale).sum(dim=0) / passes for scale in zip(*of_views, strict=True))
    return Attribution(maps, score - float(sum(places.sum() for places in maps)))


def _views(network: MultiScaleMemory) -> Iterator[_View]:
    for turned in (False, True)[: 2 if network.upside_down else 1]:
        for mirrored in (False, True)[: 2 if network.mirrored else 1]:
            yield _View(turned, mirrored)


def _slopes(scorer: Scorer, features: Features) -> tuple[float, _Slopes]:
    """The score, and its gradient."""
    scores, pooled, evidence = (
        each.clone().float().requires_grad_()
        for each in (features.scores, features.pooled, features.evidence)
    )
    with torch.enable_grad():
        score = scorer(Features(scores, pooled, evidence)).sum()
    found = torch.autograd.grad(score, (scores, pooled, evidence), allow_unused=True)
    by_scores, by_pooled, by_evidence = (
        torch.zeros_like(each[0]) if slope is None else slope[0]
        for each, slope in zip((scores, pooled, evidence), found, strict=True)
    )
    one_class = scorer.mahalanobis
    usual = scorer.heads.mean if one_class is None else one_class.centre
    return float(score.detach()), _Slopes(by_scores, by_pooled, by_evidence, usual)


@repeatable_kernels()
@torch.no_grad()
def _of_view(
    network: MultiScaleMemory, slopes: _Slopes, view: _View, image: Tensor
) -> list[Tensor]:
    """Share of each place in one forward pass, (H_s, W_s) a scale."""
    features = network(view.of(image.to(network.encoder.mean.device)))
    deviations = network.deviations_of(features)
    pooled = zip(*(_of_orientation(network, each, view) for each in (slopes.pooled, slopes.usual)),
                 strict=True)  # fmt: skip
    maps = []
    for scale, (deviation, (slope, usual)) in enumerate(zip(deviations, pooled, strict=True)):
        places = _of_pooled(deviation[0].cpu(), slope, usual)
        if not view.turned:
            squares = place_norms(deviation)[0].cpu().square()
            score = (squares.mean() + 1e-12).sqrt()
            places += slopes.scores[scale] * squares / (squares.numel() * score)
            odds = network.evidence_map(features[scale], scale)[0].cpu()
            places += slopes.evidence[scale] * odds / odds.numel()
        maps.append(view.undone(places))
    return maps


def _of_orientation(network: MultiScaleMemory, values: Tensor, view: _View) -> list[Tensor]:
    """Those of the pooled values that come from images as the view has them, a scale each."""
    scales = values.split(network.pooled_widths)
    orientations = 2 if network.upside_down else 1
    return [scale.chunk(orientations)[int(view.turned)] for scale in scales]


def _of_pooled(deviation: Tensor, slope: Tensor, usual: Tensor) -> Tensor:
    """Share of each place, (H, W), in what is pooled of a deviation (C, H, W)."""
    channels, area = len(deviation), deviation[0].numel()
    mean = deviation.mean(dim=(1, 2), keepdim=True)
    sums: Sequence[Tensor] = [deviation]
    if len(slope) > channels:
        spread = (deviation - mean).square()
        sums = [deviation, spread / (spread.mean(dim=(1, 2), keepdim=True) + 1e-12).sqrt()]
    places = torch.zeros_like(deviation[0])
    for each, weight, level in zip(sums, slope.split(channels), usual.split(channels), strict=True):
        places += torch.einsum("c,chw->hw", weight, each - level.view(-1, 1, 1)) / area
    return places
