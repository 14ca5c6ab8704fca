"""Whether a threshold rests on one held-out normal, which a person should then look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomem.detector.calibrate import Calibration

_NEXT = 3


@dataclass(frozen=True)
class Resting:
    """The held-out normal on which a threshold rests.

    Attributes:
        name: Of the image.
        score: Of the image: the threshold.
        lower: The next lower scores of held-out normals, at most three, highest first.
    """

    name: str
    score: float
    lower: tuple[float, ...]

    def __str__(self) -> str:
        lower = ", ".join(f"{score:.2f}" for score in self.lower)
        return (
            f"the threshold rests on this one image: {self.name} (score {self.score:.2f}; the next "
            f"are {lower}): look at it, and set it aside if it is no good normal (--set-aside of "
            "anomem adapt)"
        )


def rests_on(calibration: Calibration, names: Sequence[str], threshold: float) -> Resting | None:
    """The one held-out normal without which a threshold of false alarms would be far lower.

    Far is more than the standard deviation of the other held-out normals of its kind.

    Args:
        calibration: Of n held-out normals.
        names: Of each of them.
        threshold: That they give.

    Returns:
        None where the next lower score is near, or there is none.
    """
    at = int(np.abs(calibration.scores - threshold).argmin())
    score = float(calibration.scores[at])
    alike = calibration.kind == calibration.kind[at]
    alike[at] = False
    others = calibration.scores[alike]
    lower = np.sort(others[others <= score])[::-1][:_NEXT]
    if len(lower) == 0 or score - lower[0] <= others.std():
        return None
    return Resting(names[at], score, tuple(lower.tolist()))
