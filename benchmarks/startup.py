"""Start-up: what a command takes before its work, beside what the interpreter and PyTorch take.

    python benchmarks/startup.py [--rounds 7] [--out startup.json]

Processes of their own, in turn. The floor of ``anomem score`` is to import PyTorch.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from scoring import fitted, written
from turns import in_turn, machine, show

_MAIN = "from anomem.cli.app import main; main()"


def main(rounds: int = 7, out: Path | None = None) -> None:
    """Measure and print.

    Args:
        rounds: Measured rounds; one more warms up.
        out: JSON file for the table.
    """
    with tempfile.TemporaryDirectory() as place:
        files = written(Path(place), 100, 64)
        model = Path(place, "model")
        fitted(64, files, reduced=True).save(model)
        scored = ["score", str(model), str(files[0]), "--out", str(Path(place, "s.csv"))]
        calls = {
            "python": ["pass"],
            "import anomem": ["import anomem"],
            "anomem --help": [_MAIN, "--help"],
            "anomem info": [_MAIN, "info", str(model)],
            "import torch": ["import torch"],
            "import torch, timm": ["import torch, timm"],
            "anomem score, one image": [_MAIN, *scored, "--device", "cpu"],
        }

        def run(arguments: list[str]) -> None:
            subprocess.run([sys.executable, "-c", *arguments], check=True, capture_output=True)

        seconds = in_turn(
            {name: lambda a=arguments: run(a) for name, arguments in calls.items()},  # type: ignore[misc]
            rounds=rounds,
        )
    table: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    table["seconds"] = {name: median(values) for name, values in seconds.items()}
    show(table, out)


if __name__ == "__main__":
    tyro.cli(main)
