"""What commands tell of the threshold."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from anomem.runtime.printing import tell

if TYPE_CHECKING:
    from anomem.detector.estimator import AnoMem


def tell_decision(model: AnoMem, rule: str = "0.05") -> dict[str, Any]:
    """Tell what a threshold rests on and what to expect of its rule, and give it back as JSON."""
    from anomem.detector.expected_alarms import expected_alarms
    from anomem.detector.threshold import rule_of

    resting, promise = model.rests_on(rule), model.promise(rule)
    alarms = expected_alarms(rule_of(rule), model.calibration(), partial(model.threshold, rule))
    for sentence in filter(None, (alarms, resting, promise)):
        tell(str(sentence))
    told: dict[str, Any] = {
        "expected_alarms": alarms.as_json(),
        "rests_on": None if resting is None else asdict(resting),
    }
    if promise is not None:
        told["expected_escapes"] = promise.escapes
    return told
