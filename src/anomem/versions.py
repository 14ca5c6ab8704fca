"""Versions of the libraries that a model was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version

_LIBRARIES = ("anomem", "torch", "torchvision", "timm", "numpy", "scikit-learn")


def library_versions() -> dict[str, str]:
    """Version of Python and of each library that scores depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
