"""Stage-1 training speed against the SimCLR example of lightly, in one process, in turn.

    pip install -r benchmarks/requirements.txt
    python benchmarks/simclr.py [--rounds 7] [--steps 24] [--threads N] [--json]

Both sides train the encoder of ``scratch`` (its timm backbone, weights channels last) on the same
photographs of 32 px, with the same batch of normal images a step and as many threads. Theirs is the
plain loop of https://docs.lightly.ai/examples/simclr.html with its choices for CIFAR-10: PIL images
through ``SimCLRTransform``, a ``DataLoader``, ``SimCLRProjectionHead``, ``NTXentLoss`` and SGD. It
runs without workers and with two, which live as long as a turn, and the faster is the rival. Ours
is the whole step, as in ``step.py``: it passes more views of each normal image through the encoder,
as pseudo-anomalies are made of it. Images/s count the normal images of the batch alone; ratios are
medians over the rounds of ours over theirs, each of the same round.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from anomem.config import Config
from anomem.config.presets import scratch
from anomem.model.encoder import Encoder
from anomem.runtime.allocator import keep_freed_memory
from anomem.training.stage1 import Stage1
from step import as_tensor, crops, new_stage1
from turns import machine

SIDE = 32
WORKERS = (0, 2)
SETTLE = 6
"""Steps of a turn before the clock starts: more than two workers can have ready by then."""
OURS = "AnoMem"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Speeds:
    """What is measured.

    Attributes:
        rounds: Measured rounds; one more warms up.
        steps: Timed steps of each side in a round.
        images: Training images.
        threads: Of torch, None for its own choice.
        json: Print one JSON object on the last line.
    """

    rounds: int = 7
    steps: int = 24
    images: int = 2_000
    threads: int | None = None
    json: bool = False


class Photographs(Dataset[tuple[list[Tensor], int]]):
    """Images in memory given out as torchvision's CIFAR-10 does: PIL, transformed, with a class."""

    def __init__(self, images: Pixels, transform: Callable[[Image.Image], list[Tensor]]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        return self.transform(Image.fromarray(self.images[index])), 0


class SimCLR(nn.Module):
    """The model of lightly's example, around our backbone."""

    def __init__(self, config: Config) -> None:
        from lightly.models.modules import SimCLRProjectionHead  # type: ignore[import-not-found]

        super().__init__()
        encoder = Encoder(config.encoder)
        width = encoder.widths[-1]
        self.backbone = encoder.backbone
        self.projection_head = SimCLRProjectionHead(width, width, 128)

    def forward(self, images: Tensor) -> Tensor:
        """Projections (B, 128) of normalised images (B, 3, H, W)."""
        images = images.contiguous(memory_format=torch.channels_last)
        features = self.backbone(images)[-1].mean(dim=(2, 3))
        projected: Tensor = self.projection_head(features)
        return projected


class Example:
    """Lightly's example loop.

    Args:
        images: (N, H, W, 3), training images.
        config: Of the encoder and of the batch.
        workers: Of the loader.
    """

    def __init__(self, images: Pixels, config: Config, workers: int) -> None:
        from lightly.loss import NTXentLoss  # type: ignore[import-not-found]
        from lightly.transforms import SimCLRTransform  # type: ignore[import-not-found]

        self.model = SimCLR(config).to(memory_format=torch.channels_last)
        self.loader: DataLoader[Any] = DataLoader(
            Photographs(images, SimCLRTransform(input_size=SIDE, gaussian_blur=0.0)),
            batch_size=config.stage1.batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
        )
        self.criterion = NTXentLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.06)
        self.views = 2 * config.stage1.batch

    def turn(self, steps: int) -> float:
        """Seconds of a step, over so many; what comes before the first of them is not counted."""
        self.model.train()
        ends = list(islice(self._epoch(), SETTLE + steps))
        return (ends[-1] - ends[SETTLE - 1]) / steps

    def _epoch(self) -> Iterator[float]:
        total_loss = torch.zeros(())
        for batch in self.loader:
            x0, x1 = batch[0]
            z0 = self.model(x0)
            z1 = self.model(x1)
            loss = self.criterion(z0, z1)
            total_loss += loss.detach()
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            yield time.perf_counter()


class Stage:
    """Stage 1 of the preset ``scratch``.

    Args:
        images: (N, H, W, 3), training images.
        config: The preset.
    """

    def __init__(self, images: Pixels, config: Config) -> None:
        fabric = Fabric(accelerator="cpu", devices=1)
        self.stage1: Stage1 = new_stage1(config, as_tensor(images), fabric)
        self.walk = iter(self.stage1)
        self.views = self._views()

    def turn(self, steps: int) -> float:
        """Seconds of a step, over so many; what comes before the first of them is not counted."""
        ends = [time.perf_counter() for _ in islice(self.walk, SETTLE + steps)]
        return (ends[-1] - ends[SETTLE - 1]) / steps

    def _views(self) -> int:
        """Images that pass through the encoder at a step, counted there."""
        seen: list[int] = []

        def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(len(inputs[0]))

        handle = self.stage1.network.encoder.register_forward_pre_hook(count)
        next(self.walk)
        handle.remove()
        return sum(seen)


def extract(speeds: Speeds, config: Config) -> dict[str, Any]:
    """Images/s and views/s of each side, and how ours compare with the rival's."""
    images = crops(speeds.images, SIDE)
    sides: dict[str, Stage | Example] = {OURS: Stage(images, config)}
    for workers in WORKERS:
        sides[f"lightly, {workers} workers"] = Example(images, config, workers)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for done in range(speeds.rounds + 1):
        for name, side in sides.items():
            seconds[name].append(side.turn(speeds.steps))
        told = ", ".join(f"{name} {1e3 * kept[-1]:.1f} ms" for name, kept in seconds.items())
        print(f"round {done or 'to warm up'}: a step of {told}", flush=True)
    kept = {name: values[1:] for name, values in seconds.items()}
    rival = min((name for name in kept if name != OURS), key=lambda name: median(kept[name]))
    ratios = [theirs / ours for ours, theirs in zip(kept[OURS], kept[rival], strict=True)]
    batch = config.stage1.batch
    return {
        "sides": {
            name: {
                "images_per_s": batch / median(kept[name]),
                "views_per_s": side.views / median(kept[name]),
                "views_a_step": side.views,
                "seconds_a_step": kept[name],
            }
            for name, side in sides.items()
        },
        "rival": rival,
        "ratio": median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "views_ratio": median(ratios) * sides[OURS].views / sides[rival].views,
        "rounds": speeds.rounds,
        "batch": batch,
    }


def main(speeds: Speeds) -> None:
    """Measure and print.

    Raises:
        ValueError: An epoch is shorter than a turn.
    """
    config = scratch()
    least = (SETTLE + speeds.steps) * config.stage1.batch
    if speeds.images < least:
        raise ValueError(f"{speeds.images} images are too few for a turn; give {least} or more.")
    if speeds.threads is not None:
        torch.set_num_threads(speeds.threads)
    result = extract(speeds, config)
    for name, side in result["sides"].items():
        print(
            f"{name}: {side['images_per_s']:.0f} normal images/s, "
            f"{side['views_per_s']:.0f} views/s ({side['views_a_step']} views a step)"
        )
    print(
        f"AnoMem trains on {result['ratio']:.2f} times the normal images/s of {result['rival']} "
        f"({result['ratio_least']:.2f} to {result['ratio_most']:.2f}), and passes "
        f"{result['views_ratio']:.2f} times the views/s; n = {speeds.rounds} rounds, "
        f"{torch.get_num_threads()} threads"
    )
    if speeds.json:
        print(json.dumps({"machine": machine()} | result))


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    main(tyro.cli(Speeds, description=__doc__))
