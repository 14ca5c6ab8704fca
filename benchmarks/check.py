"""Ratios of speed against those of the last table, by hand before a release: minutes.

    python benchmarks/check.py            # measures and compares; 1 is the exit code of a loss
    python benchmarks/check.py --write    # measures and replaces the table

Only ratios to the bare encoder of the same run are compared, so that another machine, or a busy
one, does not count as a change; the table names the machine it was measured on.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from anomem.config.presets import scratch
from anomem.runtime.allocator import keep_freed_memory
from anomem.runtime.device import make_fabric
from scoring import fitted, folder_ratio, written
from step import NETS, scoring_ratio, stage1_ratio
from turns import machine

TABLE = Path(__file__).parent / "results" / "performance" / "table.json"
_NETS = {"small": 9, "resnet18": 3}
"""Networks, and rounds of each."""
_FILES = 2_000


def measured() -> dict[str, dict[str, Any]]:
    """All ratios, on the CPU."""
    fabric = make_fabric("cpu")
    ratios: dict[str, dict[str, Any]] = {}
    for name, rounds in _NETS.items():
        net = NETS[name]
        ours = replace(scratch(), encoder=net.encoder)
        config = replace(ours, stage1=replace(ours.stage1, batch=net.batch))
        at = f"{name}, {net.side} px"
        ratios[f"stage 1, {at}"] = stage1_ratio(config, net, fabric, rounds)
        ratios[f"scoring an array, {at}"] = scoring_ratio(config, net, fabric.device, rounds)
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), _FILES, 256)
        model = fitted(64, files, reduced=True)
        ratios["scoring a folder, small, 64 px"] = folder_ratio(model, files, rounds=3)
    return ratios


def main(write: bool = False, table: Path = TABLE, loss: float = 0.1) -> None:
    """Measure, compare and print.

    Args:
        write: Replace the table instead of comparing.
        table: Of the last ratios.
        loss: Share of a ratio that may be lost before it counts.
    """
    ratios = measured()
    if write:
        table.parent.mkdir(parents=True, exist_ok=True)
        kept = {"machine": machine(), "ratios": ratios}
        table.write_text(json.dumps(kept, indent=1) + "\n")
    last = json.loads(table.read_text())
    print(f"the table is of {last['machine']}")
    for name, now in ratios.items():
        before = last["ratios"].get(name, {}).get("ratio")
        told = "new" if before is None else f"was {before:.2f}"
        print(f"{name}: {now['ratio']:.2f} ({now['low']:.2f} to {now['high']:.2f}), {told}")
    slower = lost(ratios, last["ratios"], loss)
    if slower:
        sys.exit(f"slower than in the last table by more than {loss:.0%}: {'; '.join(slower)}.")


def lost(
    now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]], loss: float
) -> list[str]:
    """Names of the ratios that have fallen by more than a share."""
    return [
        name
        for name, measure in now.items()
        if name in before and measure["ratio"] < (1 - loss) * before[name]["ratio"]
    ]


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    tyro.cli(main)
