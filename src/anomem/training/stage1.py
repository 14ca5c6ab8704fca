"""Stage 1: encoder and memories learn the normal by contrast (Algorithm 1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from anomem.config import Config, Stage1Choices
from anomem.network.deviation import MultiScaleMemory
from anomem.network.encoder import to_float
from anomem.training.draws import Draws, seeded
from anomem.training.losses import multi_scale_loss, scale_weights
from anomem.training.pseudo import pseudo_anomalies
from anomem.training.views import random_view

Progress = Callable[[int, int], None]


class ImageSet(Protocol):
    """Images of one size that can be drawn by index."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """(B, C, H, W), uint8 or uint16."""
        ...


@dataclass
class Stage1State:
    """Where stage 1 stands: all that a resumed run needs beside the choices and the images."""

    step: int
    seconds: float
    loss: float
    tensors: dict[str, Tensor]


class Stage1Keeper(Protocol):
    """Keeps the state of stage 1 through a crash."""

    def load(self) -> Stage1State | None:
        """The state to go on from, None to start anew."""
        ...

    def offer(self, make_state: Callable[[], Stage1State], *, last: bool) -> None:
        """Take the state, now or at a later step, as saving pays; the last one is kept."""
        ...


def resolve_steps(choices: Stage1Choices, normals: int) -> int:
    """Number of steps for a set of so many normals."""
    steps = math.ceil(choices.epochs * normals / min(choices.batch, normals))
    steps = max(steps, choices.min_steps)
    return steps if choices.max_steps is None else min(steps, choices.max_steps)


def train_stage1(
    network: MultiScaleMemory,
    normals: ImageSet,
    anomalies: ImageSet | None,
    config: Config,
    *,
    fabric: Fabric,
    steps: int,
    seed: int,
    keeper: Stage1Keeper | None = None,
    progress: Progress | None = None,
) -> Stage1State:
    """Minimise the multi-scale loss over the encoder and the memories.

    SGD with Nesterov momentum 0.9; the learning rate rises linearly over the warm-up and falls by
    a cosine to zero at the last step, or at the cap in seconds if that comes first.

    Args:
        network: Trained in place; left in evaluation mode.
        normals: Training normals.
        anomalies: Labelled anomalies, drawn in balance with the normals.
        config: Choices of the views, the pseudo-anomalies, the loss and the optimiser.
        fabric: Device and precision.
        steps: Steps of the whole training.
        seed: Of every random draw.
        keeper: Saves the state as training goes and gives back that of an interrupted run.
        progress: Called with the steps done and the steps in all.

    Returns:
        The state at the end: steps done, seconds, last loss.
    """
    choices = config.stage1
    batches = _Batches(normals, anomalies, config, seed, fabric.device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=choices.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=choices.weight_decay,
        fused=fabric.device.type != "mps",
    )
    network.to(memory_format=torch.channels_last)
    module, optimizer = fabric.setup(network, optimizer)
    state = (keeper.load() if keeper else None) or Stage1State(0, 0.0, math.nan, {})
    if state.tensors:
        _restore(network, optimizer, state.tensors)
    network.train()
    begun = time.monotonic() - state.seconds
    while state.step < steps:
        done = state.step / steps
        if choices.max_seconds is not None:
            done = max(done, state.seconds / choices.max_seconds)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(choices, done)
        loss = _step(module, network, batches, state.step, config, seed)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        state = Stage1State(state.step + 1, time.monotonic() - begun, float(loss.detach()), {})
        if not math.isfinite(state.loss):
            raise FloatingPointError(
                f"the loss of stage 1 became {state.loss} at step {state.step}; "
                "lower stage1.learning_rate."
            )
        if progress:
            progress(state.step, steps)
        if keeper:
            keeper.offer(partial(_with_tensors, state, network, optimizer), last=False)
    network.eval()
    if keeper:
        keeper.offer(partial(_with_tensors, state, network, optimizer), last=True)
    return state


def learning_rate(choices: Stage1Choices, done: float) -> float:
    """Learning rate when a share ``done`` in [0, 1] of the training is over."""
    if done < choices.warmup:
        return choices.learning_rate * (done + 1e-3) / (choices.warmup + 1e-3)
    cosine = (done - choices.warmup) / (1 - choices.warmup)
    return choices.learning_rate * 0.5 * (1 + math.cos(math.pi * cosine))


class _Batches:
    """The labelled images of each step, before their views."""

    def __init__(
        self,
        normals: ImageSet,
        anomalies: ImageSet | None,
        config: Config,
        seed: int,
        device: torch.device,
    ) -> None:
        self.normals, self.anomalies = normals, anomalies
        self.kinds, self.share = config.pseudo.kinds, config.pseudo.share
        self.device = device
        self.normal_draws = Draws(len(normals), config.stage1.batch, seed)
        if anomalies is not None:
            share = config.stage1.anomaly_share or len(anomalies) / len(normals)
            wanted = max(1, round(self.normal_draws.batch * share))
            self.anomaly_draws = Draws(len(anomalies), wanted, seed + 1)

    def at(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [0, 1] and labels (B,)."""
        normal = self._take(self.normals, self.normal_draws.indices(step))
        parts, labels = [normal], [0]
        if self.anomalies is not None:
            parts.append(self._take(self.anomalies, self.anomaly_draws.indices(step)))
            labels.append(1)
        if self.kinds:
            count = max(1, round(len(normal) * self.share))
            altered = normal[torch.arange(count, device=self.device) % len(normal)]
            parts.append(pseudo_anomalies(altered, self.kinds, generator))
            labels.append(1)
        sizes = torch.tensor([len(part) for part in parts])
        label = torch.tensor(labels).repeat_interleave(sizes).to(self.device)
        return torch.cat(parts), label

    def _take(self, images: ImageSet, indices: Tensor) -> Tensor:
        return to_float(images.take(indices).to(self.device))


def _step(
    module: nn.Module,
    network: MultiScaleMemory,
    batches: _Batches,
    step: int,
    config: Config,
    seed: int,
) -> Tensor:
    generator = seeded(seed, step, batches.device)
    images, label = batches.at(step, generator)
    views = torch.cat([random_view(images, config.views, generator) for _ in range(2)])
    maps = [features.chunk(2) for features in module(views)]
    loss = config.loss
    return multi_scale_loss(
        [first for first, _ in maps],
        [second for _, second in maps],
        label,
        list(network.scale_memories()),
        sampling_ratios=loss.sampling_ratios,
        weights=scale_weights(len(maps), loss.scale_weights),
        temperature=loss.temperature,
        variance_weight=loss.variance_weight,
        soft_class=loss.soft_class,
        generator=seeded(seed + 2, step),
    )


def _with_tensors(
    state: Stage1State, network: nn.Module, optimizer: torch.optim.Optimizer
) -> Stage1State:
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum
    return Stage1State(state.step, state.seconds, state.loss, tensors)


def _restore(
    network: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    weights = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
    network.load_state_dict(weights)
    for name, parameter in network.named_parameters():
        momentum = tensors.get(f"momentum.{name}")
        if momentum is not None:
            # The fused optimiser reads memory in order, so the layouts must agree.
            buffer = torch.empty_like(parameter, requires_grad=False)
            optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum)
