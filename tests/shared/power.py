"""A power cut at a chosen moment of the work with files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class PowerCut(BaseException):
    """The machine goes down."""


def cut_power_at(patch: pytest.MonkeyPatch, call: int) -> Callable[[], int]:
    """Let the n-th call that touches the disk fail; returns how many there have been."""
    made = 0

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            nonlocal made
            made += 1
            if made == call:
                raise PowerCut
            return function(*arguments, **keywords)

        return wrapped

    for name in ("replace", "open", "write", "fsync", "mkdir", "unlink"):
        patch.setattr(os, name, failing(getattr(os, name)))
    patch.setattr(Path, "unlink", failing(Path.unlink))
    return lambda: made
