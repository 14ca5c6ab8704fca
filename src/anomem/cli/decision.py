"""What commands tell of the threshold."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anomem.runtime.printing import tell

if TYPE_CHECKING:
    from anomem.detector.estimator import AnoMem


def tell_resting(model: AnoMem, rule: str = "0.05") -> dict[str, Any] | None:
    """Tell of the one held-out normal on which the threshold rests, and give it back as JSON."""
    resting = model.rests_on(rule)
    if resting is None:
        return None
    tell(str(resting))
    return asdict(resting)


def tell_decision(model: AnoMem, rule: str) -> dict[str, Any]:
    """Tell what a threshold rests on and what its rule promises, and give it back as JSON."""
    told: dict[str, Any] = {"rests_on": tell_resting(model, rule)}
    promise = model.promise(rule)
    if promise is not None:
        tell(str(promise))
        told["expected_escapes"] = promise.escapes
    return told
