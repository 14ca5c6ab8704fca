"""What made the results of a folder: commands, versions, seeds, commit and hardware."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from anomem.runtime.files import write_text
from anomem.runtime.untrusted import one_line, read_json
from anomem.runtime.versions import git_commit, library_versions

_NAME = "manifest.json"
_MOST = 2**26
"""Bytes: a call has some thousand, and there may be many."""


def note_call(out: Path, **details: Any) -> None:
    """Add this call to the manifest of a folder.

    Args:
        out: The folder.
        details: What else made its results, such as protocol, data and seeds.
    """
    call = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        **details,
        "commit": git_commit(),
        "versions": library_versions(),
        "hardware": hardware(),
    }
    _write(out, [*_calls(out), call])


def join_manifests(folders: Sequence[Path], out: Path) -> None:
    """Write the calls of several folders as those of one."""
    _write(out, [call for folder in folders for call in _calls(folder)])


def hardware() -> dict[str, Any]:
    """Name processor, cores that may be used, memory in GiB, threads and GPU."""
    size = None
    if hasattr(os, "sysconf"):  # Windows has none
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": _cores(),
        "memory_gib": None if size is None else round(size / 2**30, 1),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cores() -> int:
    # Not every system tells which cores a process may use.
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _calls(folder: Path) -> list[dict[str, Any]]:
    file = folder / _NAME
    if not file.exists():
        return []
    try:
        calls = read_json(file, most=_MOST)
        if not isinstance(calls, list):
            raise ValueError("it is no list of calls")
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({one_line(error)}); move it away.") from error
    return calls


def _write(out: Path, calls: list[dict[str, Any]]) -> None:
    write_text(out / _NAME, json.dumps(calls, indent=1) + "\n")
