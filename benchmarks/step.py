"""Stage-1 and scoring speed against the bare encoder, in one process, in turn.

    python benchmarks/step.py [--net small|resnet18|all] [--rounds 7] [--json]

Ratios are medians over the rounds of images/s of ours over images/s of the bare encoder, which has
the same threads, memory format, precision and (no) compilation. Ours is the whole step: drawing,
pseudo-anomalies, views, encoder, memories, losses, optimiser; or the whole of scoring from an
array: conversion, encoder, memories, scores. Everything is repeated with ten times as many
training images, as neither the memory nor the model grows with them.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import tyro
from lightning_fabric import Fabric
from skimage import data
from torch import Tensor

from anomem import AnoMem
from anomem.config import Config, EncoderChoices
from anomem.data.prepare import PreparedImages
from anomem.network.deviation import MultiScaleMemory
from anomem.presets import default
from anomem.training.descent import Clock
from anomem.training.stage1 import Stage1, train_stage1

FEW, TEN_TIMES = 1_000, 10_000
SCORED = 2_048
BURST = 4


@dataclass(frozen=True)
class Net:
    """One network of the benchmark."""

    name: str
    config: Config
    side: int
    train_aim: float
    score_aim: float


def nets() -> list[Net]:
    """The small CPU net at 32 px and ResNet-18 at 64 px."""
    small = default()
    resnet = replace(small, encoder=EncoderChoices(name="resnet18", stem_stride=2))
    return [
        Net("small", small, 32, 0.85, 0.85),
        Net("resnet18", resnet, 64, 0.85, 0.93),
    ]


def crops(count: int, side: int) -> npt.NDArray[np.uint8]:
    """Crops of the photographs of a cat and of an astronaut."""
    rng = np.random.default_rng(0)
    photographs = [data.chelsea(), data.astronaut()]
    made = []
    for number in range(count):
        photograph = photographs[number % 2]
        top, left = (int(rng.integers(edge - side)) for edge in photograph.shape[:2])
        made.append(photograph[top : top + side, left : left + side])
    return np.stack(made)


def bare_step(network: MultiScaleMemory, views: Tensor) -> float:
    """Seconds of a forward and backward pass of the encoder alone."""
    network.train()
    begun = time.perf_counter()
    torch.stack([features.mean() for features in network(views)]).sum().backward()
    seconds = time.perf_counter() - begun
    network.zero_grad()
    return seconds


def our_steps(network: MultiScaleMemory, images: Tensor, config: Config) -> list[float]:
    """Seconds of each step of stage 1, but the first."""
    ends: list[float] = []
    stage1 = Stage1(
        network,
        PreparedImages(images),
        None,
        config,
        fabric=Fabric(accelerator="cpu", devices=1),
        steps=BURST + 1,
        seed=0,
        clock=Clock(),
    )
    train_stage1(stage1, progress=lambda done, total: ends.append(time.perf_counter()))
    return np.diff(ends).tolist()


@torch.inference_mode()
def bare_scoring(network: MultiScaleMemory, batches: list[Tensor]) -> float:
    """Seconds of a forward pass of the encoder alone over all batches."""
    network.eval()
    begun = time.perf_counter()
    for batch in batches:
        network(batch)
    return time.perf_counter() - begun


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def measure(net: Net, images: npt.NDArray[np.uint8], rounds: int) -> dict[str, float]:
    """Images/s and ratios of one network and one training set."""
    tiny = replace(net.config, stage1=replace(net.config.stage1, min_steps=2, max_steps=2))
    model = AnoMem(tiny, device="cpu").fit(images)
    scored = (
        images[:SCORED] if len(images) >= SCORED else np.resize(images, (SCORED, *images.shape[1:]))
    )
    floats = torch.from_numpy(scored).permute(0, 3, 1, 2).float().div(255)
    batches = list(floats.contiguous(memory_format=torch.channels_last).split(256))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    normals = net.config.stage1.batch
    shown = normals + round(normals * net.config.pseudo.share)
    network = MultiScaleMemory(net.config).to(memory_format=torch.channels_last)
    views = torch.rand(2 * shown, 3, net.side, net.side)
    times: dict[str, list[float]] = {"bare_train": [], "train": [], "bare_score": [], "score": []}
    for _ in range(rounds + 1):
        times["bare_train"].append(median(bare_step(network, views) for _ in range(BURST)))
        times["train"].append(median(our_steps(network, tensor, net.config)))
        times["bare_score"].append(bare_scoring(model.network_, batches))
        times["score"].append(seconds_of(lambda: model.decision_function(scored)))
    kept = {name: values[1:] for name, values in times.items()}
    return {
        "train_images_per_s": shown / median(kept["train"]),
        "train_ratio": _ratio(kept["bare_train"], kept["train"]),
        "score_images_per_s": SCORED / median(kept["score"]),
        "score_ratio": _ratio(kept["bare_score"], kept["score"]),
        "rounds": rounds,
    }


def _ratio(bare: list[float], ours: list[float]) -> float:
    return median(b / o for b, o in zip(bare, ours, strict=True))


def main(
    net: Literal["small", "resnet18", "all"] = "all", rounds: int = 7, json: bool = False
) -> None:
    """Measure and print.

    Args:
        net: Which network.
        rounds: Measured rounds; one more warms up.
        json: Print one JSON object on the last line.
    """
    results: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    for one in nets():
        if net not in (one.name, "all"):
            continue
        for label, count in (("few", FEW), ("ten_times", TEN_TIMES)):
            result = measure(one, crops(count, one.side), rounds)
            results[f"{one.name}_{label}"] = result
            print(
                f"{one.name} at {one.side} px, {count} training images: "
                f"stage 1 {result['train_images_per_s']:.0f} images/s, "
                f"{result['train_ratio']:.2f} of bare (aim {one.train_aim}); "
                f"scoring {result['score_images_per_s']:.0f} images/s, "
                f"{result['score_ratio']:.2f} of bare (aim {one.score_aim}); n = {rounds}"
            )
    if json:
        print(_dumps(results))


def _dumps(results: dict[str, Any]) -> str:
    return json.dumps(results)


if __name__ == "__main__":
    tyro.cli(main)
