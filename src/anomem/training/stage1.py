"""Stage 1: encoder and memories learn the normal by contrast (Algorithm 1)."""

from __future__ import annotations

import math
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from anomem.config import Config, Stage1Choices
from anomem.images.image_set import ImageSet
from anomem.model.encoder import synchronise_batch_norms
from anomem.model.network import MultiScaleMemory
from anomem.runtime.progress import Progress
from anomem.training.batches import Batches, Steps, part_of_labels
from anomem.training.checkpoint import Stage1File, Stage1State, under
from anomem.training.collapse import ScaleFigures, told_collapse
from anomem.training.draws import Chance, seeded
from anomem.training.losses import kind_loss, patch_loss, scale_losses, total_loss
from anomem.training.optimisation import Clock, WeightAverage, descend, new_optimizer
from anomem.training.pseudo import patched
from anomem.training.ranks import Ranks
from anomem.training.views import random_view
from anomem.training.watch import Watch

_PATCHED = 0.5
"""Images with a pasted patch for each normal image of a batch."""
_LABELS_ON_KINDS = 2
"""Times its weight that the loss of the kinds is more where there are many labelled anomalies."""
_COMPILING_PAYS = 6_000
"""Steps on a GPU from which compiling the encoder takes less time than it saves."""


def resolve_steps(choices: Stage1Choices, normals: int) -> int:
    """Count the steps for a set of so many normals."""
    steps = math.ceil(choices.epochs * normals / min(choices.batch, normals))
    steps = max(steps, choices.min_steps)
    return steps if choices.max_steps is None else min(steps, choices.max_steps)


class Stage1:
    """Runs Algorithm 1 step by step: minimises the multi-scale loss over encoder and memories.

    SGD with Nesterov momentum 0.9; the learning rate rises linearly over the warm-up and falls by
    a cosine to zero at the last step, or at the limit of the clock if that comes first.

    Args:
        network: Trained in place, and in training mode from here on.
        normals: Training normals, or batches of them step by step.
        anomalies: Labelled anomalies, drawn in balance with the normals.
        config: Choices of the views, the pseudo-anomalies, the loss and the optimiser.
        fabric: Device and precision; where it joins several processes, they share each batch, and
            what is trained is the same on all.
        steps: Steps of the whole training.
        seed: Of every random draw.
        clock: Counts the seconds, and may end the training before the last step.

    Attributes:
        name: Of whose training a warning speaks, where several run side by side.
    """

    name = ""

    def __init__(  # noqa: PLR0913 - Algorithm 1 has these inputs, the last four by name
        self,
        network: MultiScaleMemory,
        normals: ImageSet | Steps,
        anomalies: ImageSet | None,
        config: Config,
        *,
        fabric: Fabric,
        steps: int,
        seed: int,
        clock: Clock,
    ) -> None:
        self.network, self.config, self.fabric = network, config, fabric
        self.steps, self.seed, self.clock = steps, seed, clock
        self.ranks = Ranks.of(fabric)
        self.part_of_labels = part_of_labels(0 if anomalies is None else len(anomalies))
        choices = config.stage1
        if choices.anomaly_share is not None and anomalies is not None:
            share = choices.anomaly_share * self.part_of_labels
            choices = replace(choices, anomaly_share=share)
        self.batches = Batches(
            normals, anomalies, choices, config.pseudo, seed, fabric.device, self.ranks
        )
        if self.ranks.world > 1 and fabric.device.type == "cuda":
            synchronise_batch_norms(network)
        trained: nn.Module = network
        # With several processes compiling was not measured.
        certain = clock.limit is None and self.ranks.world == 1
        if compiles(config.compute.compile, fabric.device, steps if certain else 0):
            trained = torch.compile(network)  # type: ignore[assignment]
        self.module, self.optimizer = fabric.setup(trained, new_optimizer(network, config.stage1))
        self.average = WeightAverage(network, config.stage1.averaging)
        self.watch = Watch(network.hopfield_memories(), config.loss.soft_class)
        self.step, self.loss = 0, math.nan
        network.train()

    def __iter__(self) -> Iterator[int]:
        """Train on, yielding the steps done after each.

        Warns:
            UserWarning: The contrast has collapsed, by half of the training or at its end.
        """
        walk = descend(
            self.optimizer,
            self._loss_at,
            self.config.stage1,
            fabric=self.fabric,
            steps=self.steps,
            clock=self.clock,
            first=self.step,
            after=self.average.update,
        )
        looked = self.done() >= 0.5
        for self.step, self.loss in walk:
            if not looked and self.done() >= 0.5:
                looked, self.watch.told = True, self._tell_collapse()
            yield self.step
            if not self.network.training:
                self.network.train()
        if not self.watch.told:
            self._tell_collapse()

    def state(self) -> Stage1State:
        """Tell where the training stands."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        tensors |= {f"average.{name}": value for name, value in self.average.tensors.items()}
        tensors |= {f"watch.{name}": value for name, value in self.watch.state().items()}
        return Stage1State(self.step, self.clock.spent, self.loss, tensors)

    def restore(self, state: Stage1State) -> None:
        """Go on from where another training stood; a process alone, with as many threads."""
        if self.ranks.world == 1:
            torch.set_num_threads(state.threads)
        self.step, self.clock.spent, self.loss = state.step, state.seconds, state.loss
        self.batches.begin(state.step)
        tensors = state.tensors
        self.network.load_state_dict(under("network", tensors))
        for name, parameter in self.network.named_parameters():
            momentum = tensors.get(f"momentum.{name}")
            if momentum is not None:
                # The fused optimiser reads memory in order, so the layouts must agree.
                buffer = torch.empty_like(parameter, requires_grad=False)
                self.optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum)
        for name, value in self.average.tensors.items():
            value.copy_(tensors[f"average.{name}"])
        self.watch.restore(under("watch", tensors))

    def figures(self) -> list[ScaleFigures]:
        """Tell what the last steps have learnt, and how their memories are recalled."""
        return self.watch.figures()

    def done(self) -> float:
        """Give the share of the training that is over, 1 at its end."""
        return max(self.step / self.steps, self.clock.share())

    def _tell_collapse(self) -> bool:
        told = told_collapse(self.figures(), self.step, self.config.memory)
        if told and self.fabric.is_global_zero:
            warnings.warn(f"{self.name}: {told}" if self.name else told, stacklevel=3)
        return told is not None

    def trained(self) -> MultiScaleMemory:
        """Copy the network with averaged weights, in evaluation mode."""
        return self.average.averaged(self.network)

    def _loss_at(self, step: int) -> Tensor:
        generator = seeded(self.seed, step, self.batches.device)
        chance = Chance(generator, self.ranks)
        batch = self.batches.at(step)
        count, normals = len(batch.images), batch.normals
        views = random_view(batch.images.repeat(2, 1, 1, 1), self.config.views, chance)
        altered, patch = self._patched(views[:normals], chance)
        maps = self.module(torch.cat([views, altered]))
        sizes = [count, count, len(altered)]
        ones, twos, with_patch = zip(*(features.split(sizes) for features in maps), strict=True)
        loss, network = self.config.loss, self.network
        weights = loss.lambdas
        scales = scale_losses(
            ones, twos, normals, network.hopfield_memories(), loss, generator, self.ranks
        )
        world = self.ranks.world
        self.watch.look(step, scales, world * count, world * normals)
        summed = total_loss(scales)
        if loss.kind_weight > 0:
            both = [features[: 2 * count] for features in maps]
            kinds = kind_loss(both, batch.kind.repeat(2), network.kind_heads, weights)
            more = 1 + _LABELS_ON_KINDS * self.part_of_labels
            summed = summed + loss.kind_weight * more * kinds
        if loss.patch_weight > 0:
            seen = [torch.cat([o[:normals], w]) for o, w in zip(ones, with_patch, strict=True)]
            where = torch.cat([patch.new_zeros(normals, *patch.shape[1:]), patch])
            places = patch_loss(seen, where, network.patch_heads, weights, self.ranks)
            summed = summed + loss.patch_weight * places
        return summed

    def _patched(self, normals: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """Some of the normals with a pasted patch, and where it is; none where nothing is asked."""
        if self.config.loss.patch_weight == 0:
            return normals[:0], normals[:0, :1]
        return patched(normals[: math.ceil(len(normals) * _PATCHED)], chance)


def compiles(chosen: bool | None, device: torch.device, steps: int) -> bool:
    """Tell whether to compile the encoder: as chosen, or on a GPU if so many certain steps pay."""
    if chosen is not None:
        return chosen
    return device.type == "cuda" and steps >= _COMPILING_PAYS and can_compile()


def can_compile() -> bool:
    """Tell whether Triton, a C compiler and Python's headers are there to compile for a GPU."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    compiler = any(map(which, ("cc", "gcc", "clang")))
    return find_spec("triton") is not None and compiler and headers.is_file()


def train_stage1(
    stage1: Stage1,
    *,
    file: Stage1File | None = None,
    progress: Progress | None = None,
    after: Callable[[Stage1], None] = lambda _: None,
) -> Stage1State:
    """Train to the end, keeping the state through crashes.

    Args:
        stage1: The training; its network is left as trained, in evaluation mode.
        file: Where the state is saved as training goes, and that of an interrupted run is found; of
            several processes the first alone has one.
        progress: Called with the steps done and the steps in all.
        after: Called after each step; its time does not count.

    Returns:
        The state at the end, without its tensors.
    """
    kept = stage1.fabric.broadcast(file.load() if file else None)
    if kept is not None:
        stage1.restore(kept)
    for step in stage1:
        after(stage1)
        if progress:
            progress(step, stage1.steps)
        if file:
            file.offer(stage1.state, last=False)
    if file:
        file.offer(stage1.state, last=True)
    stage1.network.load_state_dict(stage1.trained().state_dict())
    stage1.network.eval()
    return Stage1State(stage1.step, stage1.clock.spent, stage1.loss, {})
