"""Scoring a folder of JPEG files: against decoding and the forward passes alone, memory, latency.

    python benchmarks/scoring.py [--files 10000] [--side 256] [--out scoring.json]

The files are crops of photographs. Decode-only reads them as scoring does and measures nothing;
forward-only passes images already read through the bare encoder, once for each pass that scoring
uses. The three take turns over the same files. Peak memory is that of a process of its own that
runs ``anomem score``, with a tenth of the files and with all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image

from anomem import AnoMem
from anomem.config.presets import scratch
from anomem.images.open import open_images
from anomem.images.read import BATCH, read_all
from anomem.runtime.allocator import keep_freed_memory
from step import crops, passes_of
from turns import in_turn, machine, show

_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_LATENCIES = 200


def written(folder: Path, count: int, side: int) -> list[Path]:
    """So many JPEG files of quality 90 in a folder."""
    files = []
    for number, pixels in enumerate(crops(count, side)):
        files.append(folder / f"{number:06d}.jpg")
        Image.fromarray(pixels).save(files[-1], quality=90)
    return files


def fitted(side: int, files: Sequence[Path], *, reduced: bool) -> AnoMem:
    """The preset ``scratch`` after two steps: how well it detects does not matter here."""
    config = scratch()
    config = replace(
        config,
        images=replace(config.images, size=(side, side), reduced=reduced),
        stage1=replace(config.stage1, min_steps=2, max_steps=2),
    )
    return AnoMem(config, device="cpu").fit(list(files[:100]))


def folder_ratio(model: AnoMem, files: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Files/s of scoring over ``1 / (1 / decode-only + 1 / forward-only)``."""
    source = open_images(list(files))
    starts = range(0, len(files), BATCH)
    network, shape = model.network_, model.framing_.shape
    passes = passes_of(network)
    images = torch.rand(BATCH, shape.channels, shape.height, shape.width)

    def decode() -> None:
        for _ in read_all(source, model.framing_):
            pass

    @torch.inference_mode()
    def forward() -> None:
        for start in starts:
            for _ in range(passes):
                network(images[: len(files) - start])

    seconds = in_turn(
        {"decode": decode, "forward": forward, "ours": lambda: model.score_images(list(files))},
        rounds=rounds,
    )
    each = [
        (d + f) / o
        for d, f, o in zip(seconds["decode"], seconds["forward"], seconds["ours"], strict=True)
    ]
    rates = {f"{name}_files_per_s": len(files) / float(np.median(s)) for name, s in seconds.items()}
    ratio = {"ratio": float(np.median(each)), "low": min(each), "high": max(each)}
    return {**ratio, "rounds": rounds, **rates}


def latency(model: AnoMem, files: Sequence[Path]) -> dict[str, float]:
    """Milliseconds from one path to its score."""
    times = []
    for file in files[: _LATENCIES + 10]:
        begun = time.perf_counter()
        model.decision_function([file])
        times.append(1e3 * (time.perf_counter() - begun))
    p50, p95 = np.percentile(times[10:], [50, 95]).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "n": len(times) - 10}


def peak(model: Path, folder: Path) -> float:
    """MiB that a process of its own takes at most to score a folder."""
    main = "from anomem.cli.app import main; main()"
    score = [sys.executable, "-c", main, "score", str(model), str(folder)]
    out = ["--out", str(folder.parent / "scores.csv"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *score, *out], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def main(
    files: int = 10_000,
    side: int = 256,
    size: int = 64,
    rounds: int = 3,
    out: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        files: JPEG files in the folder.
        side: Their side in pixels.
        size: Side in pixels that the detector looks at.
        rounds: Measured rounds; one more warms up.
        out: JSON file for the table.
    """
    table: dict[str, Any] = {"machine": machine(), "files": files}
    table |= {"side": side, "size": size}
    with tempfile.TemporaryDirectory() as place:
        few, many = Path(place, "few"), Path(place, "many")
        few.mkdir()
        many.mkdir()
        paths = written(many, files, side)
        for path in paths[: files // 10]:
            (few / path.name).hardlink_to(path)
        models = {r: fitted(size, paths, reduced=r) for r in (True, False)}
        for reduced, model in models.items():
            name = "reduced decoding" if reduced else "whole decoding"
            table[name] = folder_ratio(model, paths, rounds)
            table[name] |= {"latency": latency(model, paths)}
            print(name, json.dumps(table[name]), flush=True)
        scores = [model.decision_function(paths[:1000]) for model in models.values()]
        table["change of scores by reduced decoding, in standard deviations"] = float(
            np.abs(scores[0] - scores[1]).mean() / scores[1].std()
        )
        models[True].save(Path(place, "model"))
        for name, folder in (("a tenth", few), ("all", many)):
            table[f"peak MiB, {name} of the files"] = peak(Path(place, "model"), folder)
    show(table, out)


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    tyro.cli(main)
