"""Progress of the work, a stage at a time: bars on a terminal, now and then a line in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anomem.runtime.printing import tell

_PAUSE = 10.0
"""Seconds between two lines of a log, and before the first."""


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on standard error, so that standard output stays the result's.

    Yields:
        ``report(stage, done, total)``; a new stage opens a new bar.
    """
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bars() as report:
            yield report
    else:
        yield progress_lines()


def progress_lines(pause: float = _PAUSE) -> Callable[[str, int, int], None]:
    """Give ``report(stage, done, total)`` that tells how far it is, at most once a pause."""
    stages: dict[str, tuple[float, int]] = {}
    told = time.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        begun, first = stages.setdefault(stage, (now, done))
        if now - told < pause:
            return
        told = now
        line = f"{stage}: {done:,} of {total:,}, {_time(now - begun)}"
        if first < done < total:
            line += f", {_time((now - begun) * (total - done) / (done - first))} left"
        tell(line, error=True)

    return report


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    from rich import progress as rich
    from rich.console import Console

    bars = rich.Progress(
        "{task.description:<9}",
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, rich.TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        bars.start()
        if stage not in tasks or bars.tasks[tasks[stage]].total != total:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()
