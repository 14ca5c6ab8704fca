"""Peak memory of stage 1 against the batch, each in a process of its own.

    python benchmarks/memory.py [--net small] [--batches 32 64 128 256] [--out memory.json]

On a CPU the peak is the resident memory of the process above that before the first step; on a GPU
what PyTorch has allocated.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from anomem.config.presets import PRESETS
from anomem.runtime.device import make_fabric
from step import NETS, as_tensor, crops, new_stage1
from turns import machine, show

_STEPS = 4


def resident(key: str) -> float:
    """MiB of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def measured(preset: str, net: str, batch: int, device: str) -> float:
    """MiB that some steps take at most."""
    chosen = NETS[net]
    config = PRESETS[preset]()
    config = replace(
        config,
        encoder=chosen.encoder if preset == "scratch" else config.encoder,
        stage1=replace(config.stage1, batch=batch),
        compute=replace(config.compute, compile=False),
    )
    stage1 = new_stage1(config, as_tensor(crops(batch, chosen.side)), make_fabric(device))
    before = resident("VmRSS")
    steps = iter(stage1)
    for _ in range(_STEPS):
        next(steps)
    if stage1.fabric.device.type == "cuda":
        return float(torch.cuda.max_memory_allocated() / 2**20)
    return resident("VmHWM") - before


def main(
    net: str = "small",
    preset: str = "scratch",
    batches: tuple[int, ...] = (32, 64, 128, 256, 512),
    device: str = "auto",
    one: bool = False,
    out: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        net: In ``NETS`` of ``step.py``: encoder (of the preset) and size of the images.
        preset: scratch, or paper with its own encoder.
        batches: Normals in a step.
        device: auto, cpu or cuda.
        one: Measure the first batch in this process, and print nothing else.
        out: JSON file for the table.
    """
    if one:
        print(measured(preset, net, batches[0], device))
        return
    peaks: dict[int, float] = {}
    for batch in batches:
        call = [sys.executable, __file__, "--one", "--net", net, "--preset", preset]
        call += ["--device", device, "--batches", str(batch)]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        peaks[batch] = float(done.stdout.splitlines()[-1])
        print(f"batch {batch}: {peaks[batch]:.0f} MiB", flush=True)
    slope, offset = np.polyfit(list(peaks), list(peaks.values()), 1)
    line = {batch: offset + slope * batch for batch in peaks}
    table: dict[str, Any] = {
        "machine": machine(),
        "net": net,
        "preset": preset,
        "peak_mib": peaks,
        "mib_a_normal": slope,
        "furthest_from_a_line": max(abs(peaks[b] / line[b] - 1) for b in peaks),
    }
    show(table, out)


if __name__ == "__main__":
    tyro.cli(main)
