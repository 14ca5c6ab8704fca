"""What each place of an image adds to its score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from anomem.model.features import Features
from anomem.model.network import MultiScaleMemory, View
from anomem.model.one_class import place_norms
from anomem.model.scorer import Scorer
from anomem.runtime.device import repeatable_kernels


@dataclass(frozen=True)
class Attribution:
    """Divides a score among places: all maps summed, and the rest, are the score.

    Attributes:
        maps: Share of each place at each scale, (H_s, W_s) float32; below 0 where a place makes
            the image look more normal.
        rest: What no place has a part in; without labels it is the same for every image.
    """

    maps: tuple[Tensor, ...]
    rest: float


def attribution(
    network: MultiScaleMemory,
    scorer: Scorer,
    image: Tensor,
    features: Features,
    unusual: Tensor | None = None,
) -> Attribution:
    """Divide the score of an image among its places.

    Along its gradient g the score is linear in what is pooled: a Mahalanobis distance is
    ``g (pooled - centre)`` exactly, also where remembered normals explain a part of it, and what
    labels add is nearly so around the image (likeness to labelled anomalies as a sum over what is
    pooled, the length of the image held). And what is pooled is a sum over the n places of a map: a
    mean of ``x / n``, a standard deviation s of ``(x - mean)^2 / (n s)``, a scale score e (Eq. 6)
    of ``d^2 / (n e)``; what is averaged over the places that deviate most, or that are most
    unusual, is a sum over these.

    Args:
        network: In evaluation mode.
        scorer: In evaluation mode.
        image: (1, C, H, W), floats in [0, 1].
        features: Of the image, as ``extract`` gives it.
        unusual: Share of each place of the finest map in ``features.beside``, (H, W), see
            :func:`~anomem.model.heat.shares_of_unusual`; None where the score rests on none.
    """
    score, slopes = _slopes(scorer, features)
    of_views = [_of_view(network, scorer, slopes, view, image) for view in network.views]
    sides = 2 if network.mirrored else 1
    maps = tuple(torch.stack(scale).sum(dim=0) / sides for scale in zip(*of_views, strict=True))
    if unusual is not None:
        height, width = maps[0].shape
        means = functional.adaptive_avg_pool2d(unusual[None, None], (height, width))[0, 0]
        sums = means * (unusual.numel() / maps[0].numel())
        maps = (maps[0] + float(slopes.beside) * sums, *maps[1:])
    return Attribution(maps, score - float(sum(places.sum() for places in maps)))


def _slopes(scorer: Scorer, features: Features) -> tuple[float, Features]:
    """The score of one image, and its gradient with its features, each without the first axis."""
    inputs = [
        each.clone().float().requires_grad_()
        for each in (features.scores, features.pooled, features.evidence, features.beside)
    ]
    with torch.enable_grad():
        score = scorer(Features(*inputs)).sum()
    slopes = torch.autograd.grad(score, inputs, allow_unused=True, materialize_grads=True)
    return float(score.detach()), Features(*(slope[0] for slope in slopes))


@repeatable_kernels()
@torch.no_grad()
def _of_view(
    network: MultiScaleMemory, scorer: Scorer, slopes: Features, view: View, image: Tensor
) -> list[Tensor]:
    """Give the share of each place in one forward pass, (H_s, W_s) a scale."""
    one_class = scorer.mahalanobis
    usual = scorer.heads.mean if one_class is None else one_class.centre
    features = network(view.of(image.to(network.encoder.mean.device)))
    deviations = network.deviations_of(features)
    of_heads = slopes.pooled[: len(usual)]
    pooled = (_of_orientation(network, each, view) for each in (of_heads, usual))
    of_scores = _of_scores(network, deviations, slopes.scores)
    weights = _of_most_deviating(network, deviations)
    maps = []
    for scale, (deviation, slope, level) in enumerate(zip(deviations, *pooled, strict=True)):
        places = _of_pooled(deviation[0].cpu(), slope, level, weights[scale])
        if not view.turned:
            places += of_scores[scale]
            odds = network.evidence_map(features[scale], scale)[0].cpu()
            places += slopes.evidence[scale] * odds / odds.numel()
        maps.append(view.undone(places))
    return maps


def _of_scores(network: MultiScaleMemory, deviations: list[Tensor], slopes: Tensor) -> list[Tensor]:
    """Share of each place, (H_s, W_s), in the scale scores of one image, by their slopes (S,).

    Scale scores grow as the distances do, so that the distances along their gradient are the score.
    """
    norms = [place_norms(deviation).clamp(min=1e-12) for deviation in deviations]
    with torch.enable_grad():
        units = [each.unsqueeze(1).requires_grad_() for each in norms]
        total = (network.scale_scores(units)[0].cpu() * slopes).sum()
        gradients = torch.autograd.grad(total, units)
    return [(g * u)[0, 0].detach().cpu() for g, u in zip(gradients, units, strict=True)]


def _of_orientation(network: MultiScaleMemory, values: Tensor, view: View) -> list[Tensor]:
    """Those of the pooled values that come from images as the view has them, a scale each."""
    scales = values.split(network.pooled_widths)
    return [scale.chunk(1 + network.upside_down)[int(view.turned)] for scale in scales]


def _of_most_deviating(network: MultiScaleMemory, deviations: list[Tensor]) -> list[Tensor]:
    """Weight of each place, (H_s, W_s), in the mean over the places of an image that deviate most.

    Places of a coarser scale share in it as they are enlarged. 0 where no such mean is pooled.
    """
    if not network.of_places:
        return [torch.zeros_like(deviation[0, 0]).cpu() for deviation in deviations]
    most = network.deviating_places(deviations)
    with torch.enable_grad():
        ones = [torch.ones_like(each[:, :1]).requires_grad_() for each in deviations]
        total = torch.stack([most.mean(each).sum() for each in ones]).sum()
    return [weight[0, 0].cpu() for weight in torch.autograd.grad(total, ones)]


def _of_pooled(deviation: Tensor, slope: Tensor, usual: Tensor, most: Tensor) -> Tensor:
    """Share of each place, (H, W), in what is pooled of a deviation (C, H, W).

    Args:
        deviation: (C, H, W).
        slope: Of what is pooled, as many parts of C as there are.
        usual: The same of normals.
        most: Weight of each place in the third part, (H, W).
    """
    channels = len(deviation)
    equal = torch.full_like(most, 1 / most.numel())
    spread = (deviation - deviation.mean(dim=(1, 2), keepdim=True)).square()
    spread /= (spread.mean(dim=(1, 2), keepdim=True) + 1e-12).sqrt()
    parts = ((deviation, equal), (spread, equal), (deviation, most))
    places = torch.zeros_like(most)
    each = zip(parts, slope.split(channels), usual.split(channels), strict=False)
    for (values, weight), g, level in each:
        places += weight * torch.einsum("c,chw->hw", g, values - level.view(-1, 1, 1))
    return places
