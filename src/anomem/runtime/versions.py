"""Versions of the libraries that a model was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("anomem", "torch", "timm", "numpy", "scikit-learn")


def library_versions() -> dict[str, str]:
    """Give the version of Python and of each library that scores depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def git_commit() -> str:
    """Give the commit of the source that runs, a plus where files differ from it; "" if unknown."""
    where = Path(__file__).parent
    command = ["git", "-C", str(where), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
