import math
from fractions import Fraction
from itertools import product
from statistics import fmean

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from anomem.config import LossChoices
from anomem.model.memory import HopfieldMemory, gated_recollection
from anomem.training.losses import (
    contrasted_memory_loss,
    double_hinge,
    multi_scale_loss,
    patch_loss,
    scale_weights,
    variance_loss,
)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / (float(a.norm()) * float(b.norm()))


def log_share(rows: list[Tensor], i: int, j: int, tau: float) -> float:
    """Log of the softmax of the similarity of i to j among all but i."""
    total = sum(math.exp(cosine(rows[i], row) / tau) for k, row in enumerate(rows) if k != i)
    return cosine(rows[i], rows[j]) / tau - math.log(total)


def nt_xent(first: Tensor, second: Tensor, tau: float) -> float:
    rows = [*first, *second]
    count = len(rows)
    losses = [-log_share(rows, i, (i + count // 2) % count, tau) for i in range(count)]
    return sum(losses) / count


def soft_class_loss(
    first: Tensor, second: Tensor, label: list[int], tau: float, soft_class: float
) -> float:
    rows, both = [*first, *second], label * 2
    count, losses = len(rows), []
    for i in range(count):
        if both[i] == 1:
            continue
        view = (i + count // 2) % count
        others = [j for j in range(count) if both[j] == 0 and j not in (i, view)]
        positive = log_share(rows, i, view, tau)
        for j in others:
            positive += soft_class / len(others) * log_share(rows, i, j, tau)
        losses.append(-positive / (1 + soft_class))
    return sum(losses) / len(losses)


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
@settings(deadline=None, max_examples=30)
def test_contrast_is_nt_xent(count: int, tau: float, seed: int, normals: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, count, 4, generator=generator) * 3
    loss = contrasted_memory_loss(first, second, normals=normals, temperature=tau)
    assert float(loss) == pytest.approx(nt_xent(first, second, tau), abs=1e-4, rel=1e-4)


@given(
    normals=st.integers(2, 4),
    anomalies=st.integers(0, 2),
    soft_class=st.floats(0.01, 100),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=30)
def test_soft_class_shares_the_positive_weight(
    normals: int, anomalies: int, soft_class: float, seed: int
) -> None:
    label = [0] * normals + [1] * anomalies
    first, second = torch.randn(2, len(label), 4, generator=torch.Generator().manual_seed(seed))
    loss = contrasted_memory_loss(
        first, second, normals=normals, temperature=0.2, soft_class=soft_class
    )
    expected = soft_class_loss(first, second, label, 0.2, soft_class)
    assert float(loss) == pytest.approx(expected, abs=1e-4, rel=1e-4)


def test_single_normal_has_no_class_to_share() -> None:
    first, second = torch.randn(2, 3, 4)
    loss = contrasted_memory_loss(first, second, normals=1, temperature=0.2, soft_class=9.0)
    rows = [*first, *second]
    expected = -(log_share(rows, 0, 3, 0.2) + log_share(rows, 3, 0, 0.2)) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("soft_class", [0.0, 5.0])
def test_places_are_contrasted_one_by_one_and_averaged(soft_class: float) -> None:
    first, second = torch.randn(2, 4, 3, 2, 5)
    loss = contrasted_memory_loss(first, second, normals=3, temperature=0.3, soft_class=soft_class)
    each = [
        contrasted_memory_loss(
            first[:, i, j], second[:, i, j], normals=3, temperature=0.3, soft_class=soft_class
        )
        for i, j in product(range(3), range(2))
    ]
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_contrast_of_equal_views_far_from_each_other_is_near_zero() -> None:
    axes = torch.eye(4)
    assert contrasted_memory_loss(axes, axes, normals=4, temperature=0.02) < 1e-6


def test_variance_loss_is_minus_the_deviation_of_each_channel() -> None:
    recollected = torch.randn(5, 2, 3)
    deviations = []
    for place, channel in product(range(2), range(3)):
        values = recollected[:, place, channel].tolist()
        mean = sum(values) / 5
        deviations.append(math.sqrt(sum((v - mean) ** 2 for v in values) / 4))
    expected = -sum(deviations) / len(deviations)
    assert float(variance_loss(recollected)) == pytest.approx(expected, rel=1e-4)


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


def test_later_scales_count_more() -> None:
    assert scale_weights(4, "exponential") == [1, 2, 4, 8]
    assert scale_weights(4, "linear") == [1, 2, 3, 4]
    assert scale_weights(2, "linear") == scale_weights(2, "exponential")


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


def sampled_places(ratios: tuple[float, ...], seed: int) -> list[list[tuple[int, int]]]:
    """floor(H W r) places a scale, drawn without replacement."""
    generator, chosen = torch.Generator().manual_seed(seed), []
    for (height, width), ratio in zip(SIZES, ratios, strict=True):
        order = list(range(height * width))
        if ratio < 1:
            order = torch.randperm(height * width, generator=generator).tolist()
        count = math.floor(height * width * Fraction(str(ratio)))
        chosen.append([divmod(place, width) for place in order[: max(1, count)]])
    return chosen


@pytest.mark.parametrize("soft_class", [0.0, 4.0])
@pytest.mark.parametrize("ratios", [(0.3, 1.0), (1.0, 0.5), (0.01, 0.01)])
@pytest.mark.parametrize("normals", [3, 4, 1])
def test_multi_scale_loss_is_the_mean_of_each_scale_by_default(
    normals: int, ratios: tuple[float, float], soft_class: float
) -> None:
    first, second, memories = maps_and_memories()
    choices = LossChoices(
        temperature=0.2, variance_weight=0.05, soft_class=soft_class, sampling_ratios=ratios
    )
    loss = multi_scale_loss(
        first, second, normals, memories, choices, torch.Generator().manual_seed(3)
    )
    expected = torch.zeros(())
    for s, places in enumerate(sampled_places(ratios, 3)):
        for i, j in places:
            recollected = gated_recollection(memories[s], first[s][:, :, i, j], normals)
            contrast = contrasted_memory_loss(
                recollected,
                second[s][:, :, i, j],
                normals=normals,
                temperature=0.2,
                soft_class=soft_class,
            )
            spread = variance_loss(recollected[:normals])
            expected = expected + 2**s * (contrast + 0.05 * spread) / len(places)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-4)


@given(height=st.integers(1, 12), width=st.integers(1, 12), percent=st.integers(1, 100))
@example(height=10, width=10, percent=29)
@settings(deadline=None, max_examples=60)
def test_places_sampled_are_the_floor_of_their_share(height: int, width: int, percent: int) -> None:
    first = torch.randn(2, 3, height, width, requires_grad=True)
    multi_scale_loss(
        [first], [torch.randn(2, 3, height, width)], 2, [HopfieldMemory(2, 3, beta=1.0)],
        LossChoices(sampling_ratios=(percent / 100,)), torch.Generator(),
    ).backward()  # fmt: skip
    assert first.grad is not None
    touched = int((first.grad != 0).any(dim=1).any(dim=0).sum())
    assert touched == max(1, height * width * percent // 100)


def test_gradient_reaches_both_views_and_every_memory() -> None:
    first, second, memories = maps_and_memories()
    choices = LossChoices(temperature=0.2, sampling_ratios=(1.0, 1.0))
    multi_scale_loss(first, second, 3, memories, choices, torch.Generator()).backward()
    for tensor in [*first, *second, *(memory.prototypes for memory in memories)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all()
        assert (tensor.grad.flatten(1) != 0).any(dim=1).all()


@pytest.mark.parametrize(
    ("distance", "label", "expected"),
    [
        (0.4, 0, 0.0),
        (0.5, 0, 0.0),
        (0.75, 0, 0.25),
        (-3.0, 0, 0.0),
        (2.0, 1, 0.0),
        (5.0, 1, 0.0),
        (0.5, 1, 1.5),
        (-1.0, 1, 3.0),
    ],
)
def test_double_hinge_at_margin_two(distance: float, label: int, expected: float) -> None:
    loss = double_hinge(torch.tensor([distance]), torch.tensor([label]), 2.0)
    assert loss.tolist() == [expected]


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_double_hinge_of_every_scale(margin: float) -> None:
    distance, label = torch.randn(6, 3) * 3, torch.tensor([0, 1, 1, 0, 1, 0])
    loss = double_hinge(distance, label, margin)
    for b, s in product(range(6), range(3)):
        d = float(distance[b, s])
        expected = max(margin - d, 0) if label[b] else max(d - 1 / margin, 0)
        assert float(loss[b, s]) == pytest.approx(expected, abs=1e-6)
