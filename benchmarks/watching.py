"""A watched folder: from the close of a file to its line, and what kills lose.

    python benchmarks/watching.py [--model MODEL] [--files 300] [--kills 20] [--out watching.json]

Photographs of 256 pixels are written one at a time, each in two goes with a pause. First so that
each has its line before the next comes; then as fast as they are written, while the process is
killed at random moments and started anew.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from scoring import fitted, written
from turns import machine, show

_SIDE = 64
_PAUSE = 0.005
"""Seconds between the halves of a file."""
_LOOK = 0.0005


def start(model: Path, incoming: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    """Watch in a process of its own, from when it says so."""
    words = ["watch", str(model), str(incoming), "--out", str(out), "--device", "cpu", *more]
    command = [sys.executable, "-c", "from anomem.cli.app import main; main()", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def arrive(content: bytes, file: Path) -> float:
    """Write a file in two goes: when it was closed."""
    with file.open("wb") as opened:
        opened.write(content[: len(content) // 2])
        opened.flush()
        time.sleep(_PAUSE)
        opened.write(content[len(content) // 2 :])
    return time.perf_counter()


def lines(out: Path) -> int:
    """How many lines there are."""
    return out.read_bytes().count(b"\n") if out.exists() else 0


def latencies(model: Path, contents: Sequence[bytes], root: Path) -> list[float]:
    """Seconds from the close of each file to its line."""
    incoming, out = root / "incoming", root / "results.jsonl"
    incoming.mkdir(parents=True)
    watching = start(model, incoming, out)
    seconds = []
    for number, content in enumerate(contents):
        closed = arrive(content, incoming / f"{number}.jpg")
        while lines(out) <= number:
            time.sleep(_LOOK)
        seconds.append(time.perf_counter() - closed)
    watching.send_signal(signal.SIGTERM)
    watching.wait()
    return seconds[1:]  # the first has waited for the model to be loaded


def killed(model: Path, contents: Sequence[bytes], root: Path, kills: int) -> dict[str, Any]:
    """What is lost and what is scored twice, when it is killed so often."""
    incoming, out, draw = root / "incoming", root / "results.jsonl", random.Random(0)
    incoming.mkdir(parents=True)
    every = [content for _ in range(kills) for content in contents]

    def stream() -> None:
        for number, content in enumerate(every):
            while number - lines(out) > 2 * len(contents):
                time.sleep(0.1)
            arrive(content, incoming / f"{number}.jpg")

    writer = threading.Thread(target=stream)
    writer.start()
    for _ in range(kills):
        watching, least = (
            start(model, incoming, out, "--sort-into", str(root / "sorted")),
            lines(out),
        )
        until = least + draw.randint(1, len(contents) // 2)
        while lines(out) < until:
            time.sleep(_LOOK)
        time.sleep(draw.uniform(0, 0.02))
        watching.kill()
        watching.wait()
    watching = start(model, incoming, out, "--sort-into", str(root / "sorted"))
    writer.join()
    while lines(out) < len(every) or any(incoming.iterdir()):
        time.sleep(0.1)
    watching.send_signal(signal.SIGTERM)
    watching.wait()
    told = [json.loads(line) for line in out.read_bytes().splitlines()]
    times = Counter(line["path"] for line in told)
    return {
        "kills": kills,
        "files": len(every),
        "lost": len(every) - len(times),
        "twice": sum(number > 1 for number in times.values()),
        "not where their line says": sum(not Path(line["moved_to"]).is_file() for line in told),
    }


def main(
    model: Path | None = None, files: int = 300, kills: int = 20, out: Path | None = None
) -> None:
    """Measure both.

    Args:
        model: Folder of a model, saved or exported; a quickly fitted one unless given.
        files: Of which latency is measured, and for each kill.
        kills: How often the process is killed.
        out: Where to write the figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "made").mkdir()
        made = written(root / "made", max(files, 100), 256)
        if model is None:
            model = root / "model"
            fitted(_SIDE, made, reduced=False).save(model)
        contents = [file.read_bytes() for file in made[:files]]
        seconds = latencies(model, contents, root / "one")
        quantiles = {f"p{q}_ms": 1000 * float(np.percentile(seconds, q)) for q in (50, 95, 99)}
        table = {"machine": machine(), "files": len(seconds), **quantiles}
        show(table | killed(model, contents[:100], root / "two", kills), out)


if __name__ == "__main__":
    tyro.cli(main)
