"""Eq. 1 to 9, written from the paper with numbers and loops, beside the preset `paper`."""

import math

import pytest
import torch
from equations import Vector, contrast, dot, recollected, spread
from torch import Tensor, nn

from anomem.config import LossChoices, presets
from anomem.config.mapping import changed
from anomem.model.memory import HopfieldMemory, gated_recollection
from anomem.model.network import MultiScaleMemory
from anomem.model.one_class import one_class_scores
from anomem.model.scorer import Heads, fuse
from anomem.training.losses import (
    contrasted_memory_loss,
    double_hinge,
    multi_scale_loss,
    variance_loss,
)

PAPER = presets.paper()
BETA, STEPS = PAPER.memory.beta, PAPER.memory.steps
TAU, LAMBDA_V = PAPER.loss.temperature, PAPER.loss.variance_weight


def recalled(query: Vector, memory: HopfieldMemory) -> Vector:
    """Departure: on the unit sphere, where the preset reads beta as beta over tau."""
    prototypes = memory.prototypes.tolist()
    return recollected(query, prototypes, beta=BETA, steps=STEPS, unit_norm=True)


def memories(*channels: int) -> list[HopfieldMemory]:
    return [
        HopfieldMemory(5, c, beta=BETA, steps=STEPS, unit_norm=PAPER.memory.unit_norm)
        for c in channels
    ]


def test_eq_1_only_normals_are_recollected() -> None:
    torch.manual_seed(0)
    (memory,) = memories(3)
    query = torch.randn(4, 3)
    found = gated_recollection(memory, query, 2).tolist()
    for row in range(4):
        expected = query[row].tolist()
        if row < 2:
            expected = recalled(expected, memory)
        assert found[row] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_eq_2_contrasts_each_with_its_other_view() -> None:
    torch.manual_seed(1)
    ones, twos = torch.randn(2, 5, 3)
    found = contrasted_memory_loss(ones, twos, normals=3, temperature=TAU)
    assert float(found) == pytest.approx(contrast(ones.tolist(), twos.tolist(), TAU), rel=1e-4)


def test_eq_3_is_minus_the_deviation_over_normals() -> None:
    torch.manual_seed(2)
    samples = torch.randn(6, 3)
    assert float(variance_loss(samples)) == pytest.approx(spread(samples.tolist()), rel=1e-4)


def test_eq_4_divides_the_sum_over_scales_by_the_number_of_all_places() -> None:
    torch.manual_seed(3)
    shapes = [(3, 5, 4), (4, 2, 3)]
    first = [torch.randn(4, *shape, requires_grad=True) for shape in shapes]
    second = [torch.randn(4, *shape) for shape in shapes]
    held = memories(3, 4)
    loss = multi_scale_loss(first, second, 3, held, PAPER.loss, torch.Generator())
    loss.backward()
    total, places = 0.0, 0
    for scale, (one, two) in enumerate(zip(first, second, strict=True)):
        drawn = touched(one)
        area = one.shape[2] * one.shape[3]
        assert len(drawn) == (area * 3 // 10 if scale == 0 else area)
        places += len(drawn)
        for i, j in drawn:
            z, other = one[:, :, i, j].tolist(), two[:, :, i, j].tolist()
            normal = [recalled(query, held[scale]) for query in z[:3]]
            value = contrast(normal + z[3:], other, TAU) + LAMBDA_V * spread(normal)
            total += 2**scale * value
    assert places == 6 + 6
    assert float(loss.detach()) == pytest.approx(total / places, rel=1e-4)


def touched(features: Tensor) -> list[tuple[int, int]]:
    """Places of feature maps that have a gradient."""
    assert features.grad is not None
    return [(i, j) for i, j in (features.grad != 0).any(dim=1).any(dim=0).nonzero().tolist()]


def test_eq_4_at_32_pixels_weighs_19_places_once_beside_16_twice() -> None:
    """8 x 8 x .3 places of the first scale, and all 4 x 4 of the last; anomalies alone."""
    torch.manual_seed(4)
    maps = [torch.ones(4, 3, side, side) for side in (8, 4)]
    for weighed in (0, 1):
        other = [m.clone() for m in maps]
        other[1 - weighed] = torch.randn(4, 3, 1, 1).expand_as(other[1 - weighed])
        loss = multi_scale_loss(other, other, 0, memories(3, 3), PAPER.loss, torch.Generator())
        alike = contrast([[1.0] * 3] * 4, [[1.0] * 3] * 4, TAU)
        drawn = other[1 - weighed][:, :, 0, 0].tolist()
        apart = contrast(drawn, drawn, TAU)
        values = (alike, apart) if weighed == 0 else (apart, alike)
        expected = (19 * 1 * values[0] + 16 * 2 * values[1]) / 35
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_eq_5_and_6_score_what_is_not_recollected() -> None:
    """Departures: on the unit sphere, and a map's norm is divided by the root of its places."""
    torch.manual_seed(5)
    maps = [torch.randn(2, 3, 2, 2), torch.randn(2, 4, 1, 2)]
    held = memories(3, 4)
    deviations = [
        memory.deviation(z.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for memory, z in zip(held, maps, strict=True)
    ]
    scores = one_class_scores(deviations)
    for image in range(2):
        for scale, z in enumerate(maps):
            squares, places = 0.0, 0
            for place in z[image].flatten(1).T.tolist():
                back, length = recalled(place, held[scale]), math.sqrt(dot(place, place))
                squares += sum((a / length - b) ** 2 for a, b in zip(place, back, strict=True))
                places += 1
            expected = math.sqrt(squares) / math.sqrt(places)
            assert float(scores[image, scale].detach()) == pytest.approx(expected, rel=1e-4)


def test_eq_7_is_an_mlp_on_the_mean_over_places() -> None:
    torch.manual_seed(6)
    network = MultiScaleMemory(changed(PAPER, {"encoder__name": "resnet10t", "encoder__width": 4}))
    widths = network.pooled_widths
    deviations = [torch.randn(2, c, 2, 3) for c in widths]
    heads = Heads(widths, 5)
    found = heads(torch.cat(network.pooled(deviations), 1))
    for image in range(2):
        for scale, deviation in enumerate(deviations):
            pooled = [sum(values) / 6 for values in deviation[image].flatten(1).tolist()]
            inner, outer = (m for m in heads.scales[scale].modules() if isinstance(m, nn.Linear))
            hidden = [
                max(dot(row, pooled) + bias, 0.0)
                for row, bias in zip(inner.weight.tolist(), inner.bias.tolist(), strict=True)
            ]
            expected = dot(outer.weight[0].tolist(), hidden) + float(outer.bias.detach())
            assert float(found[image, scale].detach()) == pytest.approx(
                expected, rel=1e-3, abs=1e-5
            )


@pytest.mark.parametrize(("distance", "label"), [(0.2, 0), (3.0, 0), (0.2, 1), (3.0, 1)])
def test_eq_8_pulls_normals_within_1_over_m_and_pushes_anomalies_beyond_m(
    distance: float, label: int
) -> None:
    expected = max(2 - distance, 0) if label == 1 else max(distance - 1 / 2, 0)
    found = double_hinge(torch.tensor([distance]), torch.tensor([label]), PAPER.stage2.margin)
    assert found.tolist() == pytest.approx([expected])


def test_eq_9_is_the_mean_of_scales_weighted_by_lambda() -> None:
    scores = torch.randn(3, 3, generator=torch.Generator().manual_seed(7))
    found = fuse(scores, LossChoices(sampling_ratios=(1.0, 1.0, 1.0)).lambdas)
    for row, value in zip(scores.tolist(), found.tolist(), strict=True):
        assert value == pytest.approx((row[0] + 2 * row[1] + 4 * row[2]) / 7, rel=1e-4)
