import math
import time
from itertools import pairwise

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from anomem.config import Stage1Choices
from anomem.training.optimisation import (
    Clock,
    WeightAverage,
    descend,
    learning_rate,
    new_optimizer,
)

CHOICES = Stage1Choices(learning_rate=0.2, warmup=0.1)


def fitted_line(clock: Clock, steps: int = 200, pause: float = 0.0) -> tuple[nn.Linear, int]:
    """The line y = 3 x, learnt from five points."""
    torch.manual_seed(0)
    line, x = nn.Linear(1, 1), torch.linspace(-1, 1, 5).view(-1, 1)
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(line, new_optimizer(line, CHOICES))
    taken = []
    for done, _ in descend(
        optimizer, lambda _: (module(x) - 3 * x).square().mean(), CHOICES,
        fabric=fabric, steps=steps, clock=clock,
    ):  # fmt: skip
        taken.append(done)
        time.sleep(pause)
    return line, len(taken)


def test_a_line_is_learnt() -> None:
    clock = Clock()
    line, done = fitted_line(clock)
    assert done == 200 and clock.spent > 0
    assert float(line.weight.detach()) == pytest.approx(3, abs=0.05)


def test_the_clock_stands_still_between_steps() -> None:
    clock = Clock(limit=60.0)
    _, done = fitted_line(clock, steps=10, pause=0.05)
    assert done == 10 and clock.spent < 0.4
    assert clock.share() == clock.spent / 60


def test_a_limit_lowered_on_the_way_ends_the_training() -> None:
    clock = Clock(limit=60.0)
    line = nn.Linear(1, 1)
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(line, new_optimizer(line, CHOICES))
    walk = descend(
        optimizer, lambda _: module(torch.ones(1, 1)).square().mean(), CHOICES,
        fabric=fabric, steps=1000, clock=clock,
    )  # fmt: skip
    for done, _ in walk:
        if done == 3:
            clock.limit = clock.spent
    assert done == 3


def test_learning_rate_rises_then_falls_by_a_cosine() -> None:
    rates = [learning_rate(CHOICES, step / 1000) for step in range(1001)]
    assert 0 < rates[0] < 0.01
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[100] == max(rates) == pytest.approx(0.2)
    assert rates[550] == pytest.approx(0.1)
    assert rates[1000] == pytest.approx(0, abs=1e-12)
    assert max(abs(a - b) for a, b in pairwise(rates)) < 0.003


def test_learning_rate_without_warmup_starts_at_its_peak() -> None:
    assert learning_rate(Stage1Choices(learning_rate=0.2, warmup=0.0), 0.0) == 0.2


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_no_step_passes_with_a_loss_that_is_no_number(bad: int) -> None:
    line = nn.Linear(1, 1)
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(line, new_optimizer(line, CHOICES))

    def loss_at(step: int) -> torch.Tensor:
        return module(torch.ones(1, 1)).sum() * (math.nan if step == bad else 1.0)

    taken: list[int] = []
    walk = descend(optimizer, loss_at, CHOICES, fabric=fabric, steps=3, clock=Clock())
    with pytest.raises(FloatingPointError, match=f"nan by step {bad + 1}"):
        taken.extend(done for done, _ in walk)
    assert taken == list(range(1, bad + 1))


def averaged(keep: float, steps: int) -> tuple[nn.Module, WeightAverage, list[float]]:
    """A network whose one weight goes 1, 2, 3, ...; the average, and the slow loop for it."""
    linear = nn.Linear(1, 1, bias=False)
    network = nn.Sequential(linear, nn.BatchNorm1d(1))
    nn.init.zeros_(linear.weight)
    average, expected = WeightAverage(network, keep), [0.0]
    for step in range(1, steps + 1):
        nn.init.constant_(linear.weight, step)
        network(torch.randn(4, 1))
        average.update(step)
        kept = min(keep, (1 + step) / (10 + step))
        expected.append(kept * expected[-1] + (1 - kept) * step)
    return network, average, expected


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.998])
def test_average_is_the_slow_loop(keep: float) -> None:
    network, average, expected = averaged(keep, 60)
    found = average.averaged(network)
    assert float(found.state_dict()["0.weight"]) == pytest.approx(expected[-1], rel=1e-4)
    assert float(network.state_dict()["0.weight"]) == 60 and not found.training


def test_average_takes_buffers_in_and_leaves_counts() -> None:
    network, average, _ = averaged(0.9, 30)
    buffers = average.averaged(network).state_dict()
    assert int(buffers["1.num_batches_tracked"]) == 30
    assert float(buffers["1.running_var"]) != float(network.state_dict()["1.running_var"])


def test_early_averages_forget_the_start() -> None:
    _, _, expected = averaged(0.998, 20)
    assert expected[-1] > 12
