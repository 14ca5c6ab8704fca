"""Progress bars on the terminal, one a stage of the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on standard error, so that standard output stays the result's.

    Yields:
        ``report(stage, done, total)``; a new stage opens a new bar.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, console=Console(file=sys.stderr))
    tasks: dict[str, TaskID] = {}

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
