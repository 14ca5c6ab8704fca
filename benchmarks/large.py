"""Small defects in photographs of 2000 x 1500 pixels: cut into tiles against made small.

    python benchmarks/large.py --out DIR [--train 30] [--test 20] [--steps 200] [--ways pretrained]

Photographs are made of the brick of scikit-image, mirrored beyond its edges, each from another
place and under other light; a defect is a blot of gravel of 24 to 40 pixels. Each way is the
command line in processes of its own: ``anomem fit`` and ``anomem evaluate`` with masks. Printed are
AUROC of the photographs, pixel AUROC and AUPRO of the heat maps, seconds, and the peak of resident
memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro
from PIL import Image
from skimage import data

HEIGHT, WIDTH = 1500, 2000
WAYS = {
    "scratch, tiles of 128": ("--preset", "scratch", "--tile", "128"),
    "scratch, resized to 128": ("--preset", "scratch", "--resize", "128"),
    "pretrained, tiles of 128": ("--preset", "pretrained", "--tile", "128"),
}

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        out: Folder of the photographs and the models.
        train: Normal photographs to train on.
        test: Photographs to test on, of either kind.
        steps: Of stage 1, from scratch.
        ways: What the names of the ways begin with that are measured; all if empty.
    """

    out: Path
    train: int = 30
    test: int = 20
    steps: int = 200
    ways: str = ""


def main(sizes: Sizes) -> None:
    """Make the photographs and measure each way."""
    make_photographs(sizes)
    for way, flags in WAYS.items():
        if not way.startswith(sizes.ways):
            continue
        model = sizes.out / way.replace(", ", "-").replace(" ", "-")
        steps = ("--stage1.min-steps", str(sizes.steps), "--stage1.max-steps", str(sizes.steps))
        trained = steps if "scratch" in flags else ()
        fitted = measured("fit", str(sizes.out / "train"), "--out", str(model), *flags, *trained)
        judged = measured(
            *("evaluate", str(model), "--normal", str(sizes.out / "good")),
            *("--anomalies", str(sizes.out / "blot"), "--masks", str(sizes.out / "mask")),
        )
        places = judged["result"]["places"]["heat maps"]
        figures = {
            "way": way,
            "auroc": judged["result"]["auroc"],
            "pixel_auroc": places["pixel_auroc"],
            "aupro": places["aupro"],
            "fit_seconds": fitted["seconds"],
            "fit_peak_gib": fitted["peak_gib"],
            "evaluate_seconds": judged["seconds"],
            "evaluate_peak_gib": judged["peak_gib"],
        }
        print(json.dumps({k: v if isinstance(v, str) else round(v, 3) for k, v in figures.items()}))


def measured(*words: str) -> dict[str, Any]:
    """Run a command: its result, its seconds, and the most memory it held."""
    begun = time.monotonic()
    command = str(Path(sys.executable).parent / "anomem")
    process = subprocess.Popen([command, *words, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = process.stdout.read().splitlines()[-1]
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"anomem {' '.join(words)} failed: {last}")
    seconds = time.monotonic() - begun
    return {"result": json.loads(last), "seconds": seconds, "peak_gib": usage.ru_maxrss / 2**20}


def make_photographs(sizes: Sizes) -> None:
    """Write the normal photographs, those with a blot, and where it is."""
    rng = np.random.default_rng(0)
    for name, count in (("train", sizes.train), ("good", sizes.test), ("blot", sizes.test)):
        (sizes.out / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = photograph(rng)
            if name == "blot":
                mask = add_blot(pixels, rng)
                (sizes.out / "mask").mkdir(exist_ok=True)
                Image.fromarray(mask).save(sizes.out / "mask" / f"{number:03}.png")
            Image.fromarray(pixels).save(sizes.out / name / f"{number:03}.png", compress_level=1)


def photograph(rng: np.random.Generator) -> Pixels:
    """Brick from a random place, mirrored at its edges, brighter or darker."""
    brick = data.brick()
    top, left = rng.integers(0, 512, 2)
    wide = np.pad(brick, ((0, HEIGHT), (0, WIDTH)), mode="symmetric")
    cut = wide[top : top + HEIGHT, left : left + WIDTH]
    return np.clip(cut * rng.uniform(0.85, 1.15), 0, 255).astype(np.uint8)


def add_blot(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Put a blot of gravel somewhere; its mask, 255 inside."""
    radius = rng.integers(12, 21)
    row, column = rng.integers(40, HEIGHT - 40), rng.integers(40, WIDTH - 40)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    top, left = rng.integers(0, 512 - 2 * radius - 1, 2)
    gravel = data.gravel()[top : top + 2 * radius + 1, left : left + 2 * radius + 1]
    around = (slice(row - radius, row + radius + 1), slice(column - radius, column + radius + 1))
    pixels[around] = np.where(inside[around], gravel, pixels[around])
    return np.where(inside, np.uint8(255), np.uint8(0))


if __name__ == "__main__":
    main(tyro.cli(Sizes, description=__doc__))
