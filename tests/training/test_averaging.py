import pytest
import torch
from torch import nn

from anomem.training.averaging import WeightAverage


def trained(keep: float, steps: int) -> tuple[nn.Module, WeightAverage, list[float]]:
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
    network, average, expected = trained(keep, 60)
    found = average.averaged(network)
    assert float(found.state_dict()["0.weight"]) == pytest.approx(expected[-1], rel=1e-4)
    assert float(network.state_dict()["0.weight"]) == 60 and not found.training


def test_buffers_follow_too() -> None:
    network, average, _ = trained(0.9, 30)
    buffers = average.averaged(network).state_dict()
    assert int(buffers["1.num_batches_tracked"]) == 30
    assert float(buffers["1.running_var"]) != float(network.state_dict()["1.running_var"])


def test_early_averages_forget_the_start() -> None:
    _, average, expected = trained(0.998, 20)
    assert expected[-1] > 12
