import math
from dataclasses import replace
from itertools import product
from statistics import fmean

import pytest
import torch
from equations import contrast, dot, recollected, spread, unit
from hypothesis import example, given, settings, strategies as st
from torch import Tensor, nn

from anomem.config import LossChoices
from anomem.model.memory import HopfieldMemory
from anomem.training.losses import (
    contrasted_memory_loss,
    double_hinge,
    multi_scale_loss,
    patch_loss,
    repulsion_loss,
    scale_losses,
    total_loss,
    variance_loss,
)


def test_patch_loss_is_focal_and_weighs_places_of_patches_as_much_as_all_others() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    heads = [nn.Linear(3, 1), nn.Linear(5, 1)]
    patch = torch.zeros(2, 1, 8, 8)
    patch[1, 0, :5, :2] = 1
    expected = 0.0
    for features, head, weight in zip(maps, heads, (1.0, 2.0), strict=True):
        side = 8 // features.shape[2]
        inside: list[float] = []
        outside: list[float] = []
        for b, i, j in product(range(2), *(range(n) for n in features.shape[2:])):
            cell = patch[b, 0, side * i : side * (i + 1), side * j : side * (j + 1)]
            logit = float(head(features[b, :, i, j]).detach())
            is_patch = float(cell.mean()) > 0.1
            right = 1 / (1 + math.exp(-logit if is_patch else logit))
            (inside if is_patch else outside).append((1 - right) ** 2 * -math.log(right))
        expected += weight * (fmean(inside) + fmean(outside)) / 2
    found = patch_loss(maps, patch, heads, (1.0, 2.0))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


@given(
    count=st.integers(2, 6),
    tau=st.floats(0.1, 2),
    seed=st.integers(0, 999),
    normals=st.integers(0, 2),
)
@settings(deadline=None, max_examples=20)
def test_contrast_is_nt_xent(count: int, tau: float, seed: int, normals: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, count, 4, generator=generator) * 3
    loss = contrasted_memory_loss(first, second, normals=normals, temperature=tau)
    expected = contrast(first.tolist(), second.tolist(), tau)
    assert float(loss) == pytest.approx(expected, abs=1e-4, rel=1e-4)


@given(
    normals=st.integers(2, 4),
    anomalies=st.integers(0, 2),
    soft_class=st.floats(0.01, 100),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=20)
def test_soft_class_shares_the_positive_weight(
    normals: int, anomalies: int, soft_class: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, normals + anomalies, 4, generator=generator)
    loss = contrasted_memory_loss(
        first, second, normals=normals, temperature=0.2, soft_class=soft_class
    )
    expected = contrast(
        first.tolist(), second.tolist(), 0.2, normals=normals, soft_class=soft_class
    )
    assert float(loss) == pytest.approx(expected, abs=1e-4, rel=1e-4)


def test_anomalies_are_told_from_normals_and_from_each_other() -> None:
    first, second = torch.randn(2, 5, 4)
    views, tau, losses = [*first.tolist(), *second.tolist()], 0.3, []
    for anomaly in (3, 4, 8, 9):
        likeness = [dot(unit(views[anomaly]), unit(other)) / tau for other in views]
        own = likeness[(anomaly + 5) % 10]
        others = [value for row, value in enumerate(likeness) if row != anomaly]
        losses.append(math.log(sum(math.exp(value) for value in others)) - own)
    alike = contrast(first.tolist(), second.tolist(), tau, normals=3, soft_class=4.0)
    found = repulsion_loss(first, second, normals=3, temperature=tau, soft_class=4.0)
    assert float(found) == pytest.approx(fmean(losses) + alike, rel=1e-5)


def test_repulsion_is_one_more_term_of_each_scale() -> None:
    maps = [torch.randn(6, 4, 3, 3), torch.randn(6, 4, 2, 2)]
    memories = [HopfieldMemory(8, 4, beta=10.0) for _ in maps]
    plain = LossChoices(soft_class=5.0, sampling_ratios=(1.0, 1.0))
    values = []
    for weight in (0.0, 1.0, 3.0):
        terms = scale_losses(
            maps, maps, 4, memories, replace(plain, repulsion=weight), torch.Generator()
        )
        values.append(float(total_loss(terms).detach()))
    none, once, thrice = values
    assert once > none
    assert thrice - none == pytest.approx(3 * (once - none), rel=1e-4)


def test_nothing_repels_without_anomalies() -> None:
    maps, memories = [torch.randn(6, 4, 3, 3)], [HopfieldMemory(8, 4, beta=10.0)]
    values = []
    for weight in (0.0, 1.0):
        choices = LossChoices(soft_class=5.0, sampling_ratios=(1.0,), repulsion=weight)
        terms = scale_losses(maps, maps, 6, memories, choices, torch.Generator())
        values.append(float(total_loss(terms).detach()))
    assert values[0] == values[1]


def test_single_normal_has_no_class_to_share() -> None:
    one, other = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    views = torch.tensor([[one, other], [other, one]])
    loss = contrasted_memory_loss(*views, normals=1, temperature=1.0, soft_class=9.0)
    # Each view of the normal is alike to one view of the anomaly (e), and to no other (1 + 1).
    assert float(loss) == pytest.approx(math.log(math.e + 2), rel=1e-4)


@pytest.mark.parametrize("soft_class", [0.0, 5.0])
def test_places_are_contrasted_one_by_one_and_averaged(soft_class: float) -> None:
    first, second = torch.randn(2, 4, 3, 2, 5)
    loss = contrasted_memory_loss(first, second, normals=3, temperature=0.3, soft_class=soft_class)
    expected = fmean(
        contrast(
            first[:, i, j].tolist(),
            second[:, i, j].tolist(),
            0.3,
            normals=3,
            soft_class=soft_class,
        )
        for i, j in product(range(3), range(2))
    )
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_contrast_of_equal_views_far_from_each_other_is_near_zero() -> None:
    axes = torch.eye(4)
    assert contrasted_memory_loss(axes, axes, normals=4, temperature=0.02) < 1e-6


def test_variance_loss_is_minus_the_deviation_of_each_channel_at_each_place() -> None:
    samples = torch.randn(5, 2, 3)
    expected = fmean(spread(samples[:, place].tolist()) for place in range(2))
    assert float(variance_loss(samples)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_have_no_variance(count: int) -> None:
    recollected = torch.randn(count, 3, requires_grad=True)
    loss = variance_loss(recollected)
    loss.backward()
    assert float(loss.detach()) == 0 and recollected.grad is not None
    assert (recollected.grad == 0).all()


def test_equal_recollections_have_a_finite_gradient() -> None:
    recollected = torch.ones(4, 3, requires_grad=True)
    variance_loss(recollected).backward()
    assert recollected.grad is not None and recollected.grad.isfinite().all()


SIZES = ((4, 5), (3, 2))
CHANNELS = (6, 7)


def maps_and_memories(seed: int = 0) -> tuple[list[Tensor], list[Tensor], list[HopfieldMemory]]:
    torch.manual_seed(seed)
    first, second = (
        [
            torch.randn(4, c, *size, requires_grad=True)
            for c, size in zip(CHANNELS, SIZES, strict=True)
        ]
        for _ in range(2)
    )
    return first, second, [HopfieldMemory(5, c, beta=3.0) for c in CHANNELS]


def touched(features: Tensor) -> list[tuple[int, int]]:
    """Places of feature maps that have a gradient."""
    assert features.grad is not None
    return [(i, j) for i, j in (features.grad != 0).any(dim=1).any(dim=0).nonzero().tolist()]


@pytest.mark.parametrize("soft_class", [0.0, 4.0])
@pytest.mark.parametrize("ratios", [(0.3, 1.0), (1.0, 0.5), (0.01, 0.01)])
@pytest.mark.parametrize("normals", [2, 3, 4])
def test_multi_scale_loss_is_the_mean_of_each_scale_by_default(
    normals: int, ratios: tuple[float, float], soft_class: float
) -> None:
    """Of Eq. 1 to 3 by slow loops, at the places that were drawn."""
    first, second, memories = maps_and_memories()
    choices = LossChoices(
        temperature=0.2, variance_weight=0.05, soft_class=soft_class, sampling_ratios=ratios
    )
    loss = multi_scale_loss(first, second, normals, memories, choices, torch.Generator())
    loss.backward()
    expected = 0.0
    for scale, (one, two, memory) in enumerate(zip(first, second, memories, strict=True)):
        prototypes, places = memory.prototypes.tolist(), touched(one)
        for i, j in places:
            z, other = one[:, :, i, j].tolist(), two[:, :, i, j].tolist()
            normal = [
                recollected(query, prototypes, beta=3.0, steps=1, unit_norm=True)
                for query in z[:normals]
            ]
            value = contrast(normal + z[normals:], other, 0.2, normals=normals,
                             soft_class=soft_class)  # fmt: skip
            expected += 2**scale * (value + 0.05 * spread(normal)) / len(places)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


@given(height=st.integers(1, 12), width=st.integers(1, 12), percent=st.integers(1, 100))
@example(height=10, width=10, percent=29)
@settings(deadline=None, max_examples=30)
def test_places_sampled_are_the_floor_of_their_share(height: int, width: int, percent: int) -> None:
    first = torch.randn(2, 3, height, width, requires_grad=True)
    multi_scale_loss(
        [first], [torch.randn(2, 3, height, width)], 2, [HopfieldMemory(2, 3, beta=1.0)],
        LossChoices(sampling_ratios=(percent / 100,)), torch.Generator(),
    ).backward()  # fmt: skip
    assert len(touched(first)) == max(1, height * width * percent // 100)


def test_gradient_reaches_both_views_and_every_memory() -> None:
    first, second, memories = maps_and_memories()
    choices = LossChoices(temperature=0.2, sampling_ratios=(1.0, 1.0))
    multi_scale_loss(first, second, 3, memories, choices, torch.Generator()).backward()
    for tensor in [*first, *second, *(memory.prototypes for memory in memories)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all()
        assert (tensor.grad.flatten(1) != 0).any(dim=1).all()


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_double_hinge_of_every_scale(margin: float) -> None:
    distance, label = torch.randn(6, 3) * 3, torch.tensor([0, 1, 1, 0, 1, 0])
    loss = double_hinge(distance, label, margin)
    for b, s in product(range(6), range(3)):
        d = float(distance[b, s])
        expected = max(margin - d, 0) if label[b] else max(d - 1 / margin, 0)
        assert float(loss[b, s]) == pytest.approx(expected, abs=1e-6)
