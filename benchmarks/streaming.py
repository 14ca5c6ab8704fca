"""Peak memory and speed of stage 1, streamed and from memory, while the set grows tenfold.

    python benchmarks/streaming.py [--counts 5000 50000] [--out streaming.json]

Each fit is a process of its own, on Parquet shards of JPEG files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from anomem import AnoMem
from anomem.config.presets import scratch
from anomem.runtime.allocator import keep_freed_memory
from engines import as_tables
from memory import resident
from scoring import written
from turns import machine


def measured(how: str, folder: Path, side: int, steps: int) -> dict[str, float]:
    """MiB that a fit takes beyond its imports, and seconds of its stage 1."""
    config = scratch()
    config = replace(
        config,
        images=replace(config.images, size=(side, side)),
        stage1=replace(config.stage1, min_steps=steps, max_steps=steps),
    )
    before = resident("VmRSS")
    model = AnoMem(config, device="cpu")
    (model.fit_stream if how == "streamed" else model.fit)(folder)
    return {
        "mib": resident("VmHWM") - before,
        "seconds": model.summary_["seconds"],
        "normals": model.summary_["normals"],
    }


def main(
    counts: tuple[int, ...] = (5000, 50000),
    side: int = 64,
    steps: int = 600,
    rounds: int = 3,
    one: Literal["streamed", "in memory"] | None = None,
    folder: Path | None = None,
    out: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        counts: Images in the set.
        side: Of the images, in pixels.
        steps: Of stage 1.
        rounds: Fits of each kind, in turn.
        one: Measure one fit in this process, and print nothing else.
        folder: Of its shards.
        out: JSON file for the table.
    """
    if one is not None and folder is not None:
        print(json.dumps(measured(one, folder, side, steps)))
        return
    runs: list[dict[str, Any]] = []
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            tables = Path(place, "tables")
            tables.mkdir()
            as_tables(written(Path(place), count, side), tables)
            for how in ("streamed", "in memory") * rounds:
                call = [sys.executable, __file__, "--one", how, "--folder", str(tables)]
                call += ["--side", str(side), "--steps", str(steps)]
                done = subprocess.run(call, capture_output=True, text=True, check=True)
                runs.append({"how": how, "images": count, **json.loads(done.stdout)})
                print(runs[-1], flush=True)
    table = {"machine": machine(), "side": side, "steps": steps, "runs": runs}
    if out is not None:
        out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(2)
    tyro.cli(main)
