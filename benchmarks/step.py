"""Stage 1 and scoring against the bare encoder, in one process, in turn.

    python benchmarks/step.py [--nets small resnet18] [--device cuda] [--out step.json]

Ratios are images/s of ours over images/s of the bare encoder, which has the same images, threads,
memory format, precision and compilation: medians over the rounds. Ours is the whole step
(drawing, pseudo-anomalies, views, encoder, memories, losses, optimiser, average), or the whole of
scoring from an array (conversion, flips, encoder, memories, pooling) per forward pass used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import tyro
from lightning_fabric import Fabric
from skimage import data
from torch import Tensor

from anomem.config import Config, EncoderChoices
from anomem.config.presets import scratch
from anomem.images.prepare import PreparedImages
from anomem.model.features import extract
from anomem.model.network import MultiScaleMemory
from anomem.runtime.allocator import keep_freed_memory
from anomem.runtime.device import make_fabric
from anomem.training.optimisation import Clock
from anomem.training.stage1 import Stage1, resolve_steps
from turns import in_turn, machine, ratio

Precision = Literal["float32", "bf16"] | None


@dataclass(frozen=True)
class Net:
    """One network of the benchmark.

    Attributes:
        encoder: Its choices.
        side: Of the images, in pixels.
        batch: Normals in a step, and images in a forward pass of scoring.
        repeats: Steps of a round.
    """

    encoder: EncoderChoices
    side: int
    batch: int
    repeats: int


NETS = {
    "small": Net(scratch().encoder, 32, 32, 10),
    "resnet18": Net(EncoderChoices(name="resnet18", stem_stride=2), 64, 32, 2),
    "resnet18-32": Net(EncoderChoices(name="resnet18", stem_stride=1), 32, 512, 10),
    "resnet50-32": Net(EncoderChoices(name="resnet50", stem_stride=1), 32, 256, 5),
    "resnet18-224": Net(EncoderChoices(name="resnet18"), 224, 128, 10),
    "resnet50-224": Net(EncoderChoices(name="resnet50"), 224, 64, 5),
}
"""The first two suit a CPU, the others a GPU."""


def crops(count: int, side: int) -> npt.NDArray[np.uint8]:
    """Crops of the photographs of a cat and of an astronaut, (count, side, side, 3)."""
    rng = np.random.default_rng(0)
    photographs = [data.chelsea(), data.astronaut()]
    made = []
    for number in range(count):
        photograph = photographs[number % 2]
        top, left = (int(rng.integers(edge - side)) for edge in photograph.shape[:2])
        made.append(photograph[top : top + side, left : left + side])
    return np.stack(made)


def as_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Images (N, H, W, C) as (N, C, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def new_stage1(config: Config, images: Tensor, fabric: Fabric) -> Stage1:
    """Stage 1 of a new network on the device, before its first step."""
    torch.manual_seed(0)
    network = MultiScaleMemory(config).to(fabric.device)
    return Stage1(
        network,
        PreparedImages(images),
        None,
        config,
        fabric=fabric,
        steps=max(100_000, resolve_steps(config.stage1, len(images))),
        seed=0,
        clock=Clock(),
    )


def seen_in(stage1: Stage1, steps: Iterator[int]) -> Tensor:
    """The images that the encoder sees in the next step."""
    seen: list[Tensor] = []
    module = stage1.module

    def watched(images: Tensor) -> Any:
        seen.append(images.detach())
        return module(images)

    stage1.module = watched
    next(steps)
    stage1.module = module
    return seen[0]


def stage1_ratio(config: Config, net: Net, fabric: Fabric, rounds: int) -> dict[str, Any]:
    """Images/s of the whole step over those of forward and backward of the encoder alone."""
    stage1 = new_stage1(config, as_tensor(crops(2 * net.batch, net.side)), fabric)
    steps = iter(stage1)
    views = seen_in(stage1, steps)

    def bare() -> None:
        stage1.optimizer.zero_grad()
        maps = stage1.module(views)
        fabric.backward(torch.stack([each.float().mean() for each in maps]).sum())

    seconds = in_turn(
        {"bare": bare, "ours": lambda: next(steps)},
        rounds=rounds,
        repeats=net.repeats,
        device=fabric.device,
    )
    result = ratio(seconds, "ours", "bare")
    return {**result, "views": len(views), "ms": 1e3 * float(np.median(seconds["ours"]))}


def passes_of(network: MultiScaleMemory) -> int:
    """Forward passes that measuring an image takes."""
    return (2 if network.mirrored else 1) * (2 if network.upside_down else 1)


def scoring_ratio(config: Config, net: Net, device: torch.device, rounds: int) -> dict[str, Any]:
    """Images/s of measuring an array over those of a forward pass, per pass used."""
    torch.manual_seed(0)
    network = MultiScaleMemory(config).to(device).eval()
    images = as_tensor(crops(256, net.side))
    floats = images.to(device).float().div(255)
    passes = passes_of(network)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(passes):
            network(floats)

    seconds = in_turn(
        {"bare": bare, "ours": lambda: extract(network, images)},
        rounds=rounds,
        repeats=max(net.repeats // 4, 1),
        device=device,
    )
    median = float(np.median(seconds["ours"]))
    return {
        **ratio(seconds, "ours", "bare"),
        "passes": passes,
        "images_per_s": len(images) / median,
    }


def main(
    nets: tuple[str, ...] = ("small", "resnet18"),
    device: str = "auto",
    precision: Precision = None,
    compile: bool | None = None,
    channels_last: bool = True,
    rounds: int = 7,
    out: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        nets: Names in ``NETS``.
        device: auto, cpu or cuda.
        precision: Of training, of both.
        compile: Of training, of both.
        channels_last: Of both.
        rounds: Measured rounds; one more warms up.
        out: JSON file for the table.
    """
    fabric = make_fabric(device, precision)
    table: dict[str, Any] = {"machine": machine()}
    for name in nets:
        net = NETS[name]
        ours = replace(scratch(), encoder=net.encoder)
        config = replace(
            ours,
            stage1=replace(ours.stage1, batch=net.batch),
            compute=replace(ours.compute, compile=compile, channels_last=channels_last),
        )
        row = {
            "net": asdict(net),
            "stage1": stage1_ratio(config, net, fabric, rounds),
            "scoring": scoring_ratio(config, net, fabric.device, rounds),
        }
        table[name] = row
        print(name, json.dumps({k: row[k] for k in ("stage1", "scoring")}), flush=True)
    if out is not None:
        out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    tyro.cli(main)
