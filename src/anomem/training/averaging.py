"""The moving average of a network's weights, which is good before the learning rate has fallen."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage:
    """Exponential moving average of all weights and buffers of a network; counts are not averaged.

    Args:
        network: Whose weights are averaged; from here on they are written in place alone.
        keep: Share of the average kept at a step, in [0, 1), 0 being the weights as they are; step
            t keeps at most ``(1 + t) / (10 + t)``, so that early averages follow the weights.
    """

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.keep = keep
        self._values = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
        self.tensors = {name: value.clone() for name, value in self._values.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        keep = min(self.keep, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.tensors.values()), list(self._values.values()), 1 - keep)

    def averaged(self, network: Network) -> Network:
        """A copy of the network with the averaged weights, in evaluation mode."""
        result = copy.deepcopy(network)
        result.load_state_dict({**network.state_dict(), **self.tensors})
        return result.eval()
