"""The moving average of a network's weights, which is good before the learning rate has fallen."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage:
    """Exponential moving average of all weights and buffers of a network.

    Args:
        network: Whose weights are averaged.
        keep: Share of the average kept at a step, in [0, 1), 0 being the weights as they are; step
            t keeps at most ``(1 + t) / (10 + t)``, so that early averages follow the weights.
    """

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.network, self.keep = network, keep
        self.tensors = {name: value.clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        keep = min(self.keep, (1 + step) / (10 + step))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                averages.append(self.tensors[name])
                values.append(value)
            else:
                self.tensors[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - keep)

    def averaged(self, network: Network) -> Network:
        """A copy of the network with the averaged weights, in evaluation mode."""
        result = copy.deepcopy(network)
        result.load_state_dict(self.tensors)
        return result.eval()
