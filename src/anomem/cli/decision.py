"""What commands tell of a model: of its threshold, and of normals that it has left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from anomem.runtime.printing import counted, tell

if TYPE_CHECKING:
    from anomem.decision.ready import ReadyDetector


_NAMED = 5


def tell_left_out(names: Sequence[str], normals: int) -> None:
    """Tell of normals that are unlike all others, where there are any, and what to do."""
    if not names:
        return
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    are, them = ("is", "it") if len(names) == 1 else ("are", "them")
    tell(
        f"{len(names)} of {counted(normals, 'normal')} {are} unlike the others and left out of the "
        f"memory: {', '.join(names[:_NAMED])}{more}; look at {them}, and let anomem adapt know "
        "which are normal (--normal) or not (--anomalies)"
    )


def tell_decision(model: ReadyDetector, rule: str | None = None) -> dict[str, Any]:
    """Tell what a threshold rests on and what to expect of its rule, and give it back as JSON."""
    from anomem.decision.expected_alarms import expected_alarms
    from anomem.decision.threshold import rule_of

    rule = rule or model.rule
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
