"""Strips cut into tiles: seconds of ours beside PatchCore on the same tiles.

    pip install -r benchmarks/requirements.txt
    python benchmarks/strips.py [--train 24] [--test 8] [--rounds 3]

Strips of 224 x 2016 pixels are made of brick, grass and gravel of scikit-image, mirrored beyond
their edges, each under other light; every other tested one has a blot of another texture. Ours is
``AnoMem("pretrained")`` that cuts them into tiles of 224; PatchCore (of anomalib, coreset 1%, by
the same rule in less time) is given the same tiles, and a strip has the score of its highest. Fits
and scores are timed in turn, in CPU seconds of one thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import tyro
from skimage import data

from anomalib_models import PatchCore, greedy_in_less_time
from anomem import AnoMem
from anomem.config.mapping import changed
from anomem.config.presets import resolve
from anomem.evaluation.metrics import auroc
from anomem.images.image_set import ImageSet
from anomem.images.open import open_images
from anomem.images.prepare import prepare_frames
from anomem.runtime.allocator import keep_freed_memory
from turns import machine

HEIGHT, WIDTH, BLOT = 224, 2016, 32

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        train: Normal strips to train on.
        test: Strips to test on.
        rounds: Of fits and scores.
    """

    train: int = 24
    test: int = 8
    rounds: int = 3


def main(sizes: Sizes) -> None:
    """Make the strips, and measure both."""
    torch.set_num_threads(1)
    keep_freed_memory()
    rng = np.random.default_rng(0)
    train = np.stack([strip(rng, number) for number in range(sizes.train)])
    test = np.stack([strip(rng, number) for number in range(sizes.test)])
    odd = np.arange(sizes.test) % 2
    for number in np.flatnonzero(odd):
        row, column = rng.integers(0, (HEIGHT - BLOT, WIDTH - BLOT))
        blot = data.gravel()[:BLOT, :BLOT, None] // 2
        test[number, row : row + BLOT, column : column + BLOT] = blot
    config = changed(resolve("pretrained"), {"images__framing": "tile", "images__size": HEIGHT})
    seconds: dict[str, list[float]] = {}
    for seed in range(sizes.rounds):
        ours = AnoMem(config, device="cpu", seed=seed)
        timed(seconds, "ours: fit", partial(ours.fit, train))
        tiles, tested = (prepare_frames(open_images(each), ours.framing_) for each in (train, test))
        torch.manual_seed(seed)
        peer = PatchCore(ours.network_.encoder, 0.01, greedy_in_less_time, finer=True)
        timed(seconds, "patchcore: fit", partial(peer.fit, pixels(tiles.frames)))
        found = timed(seconds, "ours: score", partial(ours.decision_function, test))
        of_tiles = timed(seconds, "patchcore: score", partial(peer.score, pixels(tested.frames)))
        highest = np.full(sizes.test, -np.inf)
        np.maximum.at(highest, tested.image.numpy(), of_tiles)
    scores = {"ours": found, "patchcore": highest}
    medians = {name: median(each) for name, each in seconds.items()}
    told = {
        "tiles": {"train": len(tiles.frames), "test": len(tested.frames)},
        "auroc": {name: auroc(each[odd == 0], each[odd == 1]) for name, each in scores.items()},
        "cpu_seconds": medians,
        "ratio": {
            part: medians[f"ours: {part}"] / medians[f"patchcore: {part}"]
            for part in ("fit", "score")
        },
        "rounds": sizes.rounds,
        "machine": machine(),
    }
    print(json.dumps(told, indent=1))


def strip(rng: np.random.Generator, number: int) -> Pixels:
    """A strip of one of three textures, from another place and under other light."""
    texture = (data.brick(), data.grass(), data.gravel())[number % 3]
    wide = np.pad(texture, ((0, 0), (0, 4 * texture.shape[1])), mode="symmetric")
    row = rng.integers(0, texture.shape[0] - HEIGHT)
    column = rng.integers(0, wide.shape[1] - WIDTH)
    lit = wide[row : row + HEIGHT, column : column + WIDTH] * rng.uniform(0.8, 1.1)
    return np.repeat(lit.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def pixels(frames: ImageSet) -> Pixels:
    """Frames as images (N, H, W, C)."""
    found: Pixels = frames.take(torch.arange(len(frames))).permute(0, 2, 3, 1).numpy()
    return found


def timed(seconds: dict[str, list[float]], name: str, call: Callable[[], T]) -> T:
    """Note the CPU seconds of a call."""
    begun = time.process_time()
    found = call()
    seconds.setdefault(name, []).append(time.process_time() - begun)
    return found


if __name__ == "__main__":
    main(tyro.cli(Sizes))
