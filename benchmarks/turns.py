"""Calls timed in turn in one process, and the machine they ran on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from anomem_bench.manifest import hardware

Seconds = dict[str, list[float]]
_CPU = torch.device("cpu")


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    repeats: int = 1,
    device: torch.device = _CPU,
) -> Seconds:
    """Seconds of each call in each round, after one round that warms up.

    In a round each call is repeated, then the next has its turn; the round's figure is the median
    of the repeats, or, on a GPU, where the repeats overlap, their mean.
    """
    seconds: Seconds = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            seconds[name].append(_seconds(call, repeats, device))
    return {name: values[1:] for name, values in seconds.items()}


def _seconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        for _ in range(repeats):
            call()
        torch.cuda.synchronize(device)
        return (time.perf_counter() - begun) / repeats
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return median(found)


def ratio(seconds: Seconds, of: str, to: str) -> dict[str, float]:
    """How many times as fast one call is as another: median over rounds, lowest, highest."""
    each = [b / a for a, b in zip(seconds[of], seconds[to], strict=True)]
    return {"ratio": median(each), "low": min(each), "high": max(each), "rounds": len(each)}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return hardware() | {"torch": torch.__version__}


def show(table: dict[str, Any], out: Path | None) -> None:
    """Print a table as JSON, and write it to a file if one is given."""
    text = json.dumps(table, indent=1)
    print(text)
    if out is not None:
        out.write_text(text)
