"""Stochastic gradient descent by steps or by the clock, and the moving average of its weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from anomem.config import Stage1Choices
from anomem.runtime.device import repeatable_kernels
from anomem.training.ranks import Ranks

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Clock:
    """Counts the seconds spent in training, of those it may take.

    It stands still between two steps, while whoever asked for the training looks at the network.

    Attributes:
        limit: Seconds after which training ends, None for no bound; may change on the way.
        spent: Seconds spent.
        now: Tells the time in seconds, by default that of the wall.
    """

    limit: float | None = None
    spent: float = 0.0
    now: Callable[[], float] = time.monotonic

    def share(self) -> float:
        """Give the share of the limit that is spent, 0 without a limit."""
        return 0.0 if self.limit is None else self.spent / self.limit


def new_optimizer(network: nn.Module, choices: Stage1Choices) -> torch.optim.SGD:
    """Build SGD with Nesterov momentum 0.9 over all parameters that are not frozen."""
    device = next(network.parameters()).device
    return torch.optim.SGD(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=choices.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=choices.weight_decay,
        fused=device.type != "mps",
    )


def descend(  # noqa: PLR0913 - one loop for the detector and its peers, told all by name
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[int], Tensor],
    choices: Stage1Choices,
    *,
    fabric: Fabric,
    steps: int,
    clock: Clock,
    first: int = 0,
    after: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[int, float]]:
    """Minimise a loss, yielding after each step.

    The learning rate follows :func:`learning_rate` over the steps, or over the limit of the clock
    where that comes sooner.

    Args:
        optimizer: Set up by ``fabric``.
        loss_at: The loss at a step, counted from 0.
        choices: Of the learning rate.
        fabric: Device and precision; of several processes the first one's clock counts, and the
            loss told is the mean of theirs.
        steps: Steps of the whole training.
        clock: Counts the seconds, and may end the training before the last step.
        first: Step to begin with.
        after: Called with the steps done after each; its time counts.

    Yields:
        The steps done, and the last loss; on a GPU that of the step before, until the last step.

    Raises:
        FloatingPointError: The loss is not finite.
    """
    step, behind = first, None
    while (done := max(step / steps, clock.share())) < 1:
        begun = clock.now()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(choices, done)
        with repeatable_kernels():
            loss = loss_at(step)
            optimizer.zero_grad()
            fabric.backward(loss)
        optimizer.step()
        step += 1
        after(step)
        told = _Told(Ranks.of(fabric).mean(loss.detach()))
        value = (behind or told).finite(step)
        behind = told if told.arrived else None
        clock.spent += clock.now() - begun
        if clock.limit is not None:
            clock.spent = fabric.broadcast(clock.spent)
        if max(step / steps, clock.share()) >= 1:
            value = told.finite(step)
        yield step, value


class _Told:
    """Brings the loss of a step from the device.

    On a GPU it is read a step later, so that the GPU has work while this waits for the number.
    """

    def __init__(self, loss: Tensor) -> None:
        self.value = loss.to("cpu", non_blocking=True)
        self.arrived = torch.cuda.Event() if loss.device.type == "cuda" else None
        if self.arrived is not None:
            self.arrived.record(torch.cuda.current_stream(loss.device))

    def finite(self, step: int) -> float:
        """Give the number, once it has arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        value = float(self.value)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss of stage 1 became {value} by step {step}; lower stage1.learning_rate."
            )
        return value


def learning_rate(choices: Stage1Choices, done: float) -> float:
    """Give the learning rate when a share ``done`` in [0, 1] of the training is over."""
    if done < choices.warmup:
        return choices.learning_rate * (done + 1e-3) / (choices.warmup + 1e-3)
    cosine = (done - choices.warmup) / (1 - choices.warmup)
    return choices.learning_rate * 0.5 * (1 + math.cos(math.pi * cosine))


class WeightAverage:
    """Keeps a moving average of all weights and buffers of a network; counts are not averaged.

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
        """Copy the network with the averaged weights, in evaluation mode."""
        result = copy.deepcopy(network)
        result.load_state_dict({**network.state_dict(), **self.tensors})
        return result.eval()
