"""AnoMem: image anomaly detection by multi-scale contrasted memory.

``from anomem import AnoMem, load`` is the whole public face; everything is imported when first
used, so that ``import anomem`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomem.config import Config
    from anomem.detector.estimator import AnoMem
    from anomem.detector.load import load
    from anomem.model.encoder import Encoder
    from anomem.model.memory import HopfieldMemory
    from anomem.model.scorer import Heads, Scorer
    from anomem.training.losses import (
        contrasted_memory_loss,
        double_hinge,
        multi_scale_loss,
        variance_loss,
    )
    from anomem.training.pseudo import pseudo_anomalies

    __version__: str

_MODULES = {
    "AnoMem": "anomem.detector.estimator",
    "load": "anomem.detector.load",
    "Config": "anomem.config",
    "Encoder": "anomem.model.encoder",
    "HopfieldMemory": "anomem.model.memory",
    "Heads": "anomem.model.scorer",
    "Scorer": "anomem.model.scorer",
    "contrasted_memory_loss": "anomem.training.losses",
    "variance_loss": "anomem.training.losses",
    "multi_scale_loss": "anomem.training.losses",
    "double_hinge": "anomem.training.losses",
    "pseudo_anomalies": "anomem.training.pseudo",
}

__all__ = [
    "AnoMem",
    "Config",
    "Encoder",
    "Heads",
    "HopfieldMemory",
    "Scorer",
    "contrasted_memory_loss",
    "double_hinge",
    "load",
    "multi_scale_loss",
    "pseudo_anomalies",
    "variance_loss",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("anomem")
    if name not in _MODULES:
        raise AttributeError(f"module 'anomem' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
