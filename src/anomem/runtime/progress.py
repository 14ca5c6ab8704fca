"""How far a piece of work has come, as those who wait for it are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

Progress = Callable[[int, int], None]
StageProgress = Callable[[str, int, int], None]


def stage(progress: StageProgress | None, name: str) -> Progress | None:
    """Tell the progress of one stage by its name."""
    return None if progress is None else partial(progress, name)
