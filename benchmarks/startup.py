"""Start-up: what a command takes before its work, beside what the interpreter and PyTorch take.

    python benchmarks/startup.py [--rounds 7] [--out startup.json]

Processes of their own, in turn. The floor of ``anomem score`` of a saved model is to import
PyTorch; of an exported one it runs in an environment that has none.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from anomem import AnoMem
from scoring import fitted, written
from turns import machine, show
from without_torch import without_torch

_MAIN = "from anomem.cli.app import main; main()"
_MEASURED = """
import resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, capture_output=True)
seconds, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
"""Run by a small process, as one that is forked begins with the peak of the one it is forked of."""
_FIGURES = ("seconds", "processor_seconds", "peak_mib")


def main(rounds: int = 7, out: Path | None = None) -> None:
    """Measure and print.

    Args:
        rounds: Measured rounds; one more warms up.
        out: JSON file for the table.
    """
    with tempfile.TemporaryDirectory() as place:
        calls = _calls(Path(place))
        found: dict[str, list[list[float]]] = {name: [] for name in calls}
        for _ in range(rounds + 1):
            for name, call in calls.items():
                command = [sys.executable, "-c", _MEASURED, *call]
                ran = subprocess.run(command, check=True, capture_output=True, text=True)
                found[name].append([float(figure) for figure in ran.stdout.split()])
    table: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    for name, figures in found.items():
        medians = map(median, zip(*figures[1:], strict=True))
        table[name] = dict(zip(_FIGURES, (round(each, 3) for each in medians), strict=True))
    show(table, out)


def _calls(place: Path) -> dict[str, list[str]]:
    """The words of each call."""
    here, bare = sys.executable, str(without_torch(place / "bare"))
    calls = {
        "python": [here, "-c", "pass"],
        "import anomem": [here, "-c", "import anomem"],
        "anomem --help": [here, "-c", _MAIN, "--help"],
        "import torch": [here, "-c", "import torch"],
        "import torch, timm": [here, "-c", "import torch, timm"],
    }
    for preset, side in (("scratch", 64), ("pretrained", 256)):
        (place / preset).mkdir()
        files = written(place / preset, 100, side)
        saved, exported = place / f"{preset}-saved", place / f"{preset}-exported"
        model = (
            fitted(side, files, reduced=True)
            if preset == "scratch"
            else AnoMem(preset, device="cpu").fit(files)
        )
        model.save(saved)
        told = ["export", str(saved), "--out", str(exported), "--images", str(place / preset)]
        subprocess.run([here, "-c", _MAIN, *told], check=True, capture_output=True)
        scored = [str(files[0]), "--out", str(place / "s.csv"), "--device", "cpu"]
        calls |= {
            f"anomem info, {preset}": [here, "-c", _MAIN, "info", str(saved)],
            f"anomem score, one image, {preset}": [here, "-c", _MAIN, "score", str(saved), *scored],
            f"the same, exported, {preset}": [bare, "-c", _MAIN, "score", str(exported), *scored],
        }
    return calls


if __name__ == "__main__":
    tyro.cli(main)
