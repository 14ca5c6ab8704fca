"""Rules by which a threshold is set: of false alarms, or of what labelled anomalies ask for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomem.decision.calibrate import Calibration, smallest_alpha, threshold, unit

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FalseAlarms:
    """Calls at most a share of normal images anomalous, on average (split-conformal).

    Attributes:
        alpha: That share, in (0, 1).
    """

    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; give a share in (0, 1), such as 0.05.")


@dataclass(frozen=True)
class BestF1:
    """Takes the highest F1 over the held-out normals and the labelled anomalies, all there are."""


@dataclass(frozen=True)
class FindLabelled:
    """Finds every labelled anomaly, with as few false alarms as that allows.

    What that means for others is told by :class:`Promise`.
    """


@dataclass(frozen=True)
class LeastCost:
    """Takes the least expected cost an image.

    Attributes:
        miss: Cost of a missed anomaly in false alarms, above 0.
        share: Share of images that are anomalous where the detector is used, in (0, 1).
    """

    miss: float
    share: float

    def __post_init__(self) -> None:
        if not self.miss > 0:
            raise ValueError(f"miss is {self.miss}; give a cost above 0.")
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; give a share in (0, 1).")


Rule = FalseAlarms | BestF1 | FindLabelled | LeastCost

_NAMED: dict[str, Rule] = {"f1": BestF1(), "find-labelled": FindLabelled()}


def rule_of(word: str | float | Rule) -> Rule:
    """Read a rule as it is written: ``0.05``, ``f1``, ``find-labelled`` or ``cost:50:0.01``.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(word, Rule):
        return word
    match str(word).split(":"):
        case [name] if name in _NAMED:
            return _NAMED[name]
        case [alpha] if _is_number(alpha):
            return FalseAlarms(float(alpha))
        case ["cost", miss, share] if _is_number(miss) and _is_number(share):
            return LeastCost(float(miss), float(share))
    raise ValueError(
        f"rule is {word!r}; give a share of false alarms as 0.05, or f1, find-labelled, or "
        "cost:MISS:SHARE as cost:50:0.01 where a miss costs 50 false alarms and 1% are anomalous."
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Promise:
    """Tells what the rule ``find-labelled`` promises of new images.

    Of n labelled anomalies and one more that is drawn as they were, each is the lowest with the
    same probability: the further one is missed with a probability of at most ``1 / (n + 1)``. Those
    that the training has learnt from count for nothing, as they score higher than new ones will.

    Attributes:
        anomalies: How many are labelled.
        learnt: Of them, how many the training has learnt from.
        alarms: Held-out normals above the threshold.
        held_out: Of so many.
    """

    anomalies: int
    learnt: int
    alarms: int
    held_out: int

    @property
    def escapes(self) -> float:
        """Bound the expected share of new anomalies that escapes from above; 1 says nothing."""
        return 1 / (self.anomalies - self.learnt + 1)

    def __str__(self) -> str:
        """Say the promise as a sentence."""
        new = self.anomalies - self.learnt
        found = f"find-labelled finds all {self.anomalies} labelled anomalies"
        cost = f"{self.alarms} of {self.held_out} held-out normals are called anomalous."
        if new == 0:
            return (
                f"{found}, but the training has learnt from them, so that how many new ones escape "
                f"is not known: measure it on new ones, or label some with anomem adapt; {cost}"
            )
        of = f"the {new} labelled" if self.learnt == 0 else f"the {new} labelled since the training"
        return f"{found}; of new ones like {of} up to 1 in {new + 1} is expected to escape; {cost}"


def threshold_by(
    rule: Rule, calibration: Calibration, unseen_anomalies: Callable[[], npt.ArrayLike]
) -> float:
    """Find the score above which an image is called anomalous.

    Args:
        rule: What is asked for.
        calibration: Held-out normals.
        unseen_anomalies: Gives the scores of labelled anomalies as if they had not been learnt
            from; called where the rule needs them.

    Raises:
        ValueError: The rule needs labelled anomalies and there are none, or alpha is out of range.

    Warns:
        UserWarning: ``alpha`` needs more held-out normals than there are; the smallest supported
            alpha is used in its place.
    """
    if isinstance(rule, FalseAlarms):
        return _threshold_at(rule.alpha, calibration)
    normal = np.sort(calibration.scores.astype(np.float32))
    anomalous = np.sort(np.asarray(unseen_anomalies(), dtype=np.float32))
    if len(anomalous) == 0:
        raise ValueError(
            "this rule needs labelled anomalies and there are none; adapt to some, or give a share "
            "of false alarms such as 0.05."
        )
    candidates = _between(np.concatenate([normal, anomalous]))
    alarms = 1 - np.searchsorted(normal, candidates, side="right") / len(normal)
    missed = np.searchsorted(anomalous, candidates, side="right") / len(anomalous)
    if isinstance(rule, FindLabelled):
        return float(candidates[missed == 0][-1])
    if isinstance(rule, LeastCost):
        loss = rule.share * rule.miss * missed + (1 - rule.share) * alarms
    else:
        found, false = (1 - missed) * len(anomalous), alarms * len(normal)
        loss = -2 * found / (found + false + len(anomalous))
    return float(candidates[np.isclose(loss, loss.min(), rtol=1e-9, atol=1e-12)][0])


def falls_back_to(rule: Rule, calibration: Calibration) -> float | None:
    """Give the share of false alarms decided at where held-out normals are too few for a rule.

    Returns:
        The smallest that they support; None where they support what is asked for.
    """
    least = smallest_alpha(calibration.groups)
    return least if isinstance(rule, FalseAlarms) and rule.alpha < least else None


def _threshold_at(alpha: float, calibration: Calibration) -> float:
    """The threshold at alpha; a kind of normal that does not support it has its smallest alpha."""
    least = falls_back_to(FalseAlarms(alpha), calibration)
    if least is None:
        return threshold(calibration, alpha)
    kinds = list(calibration.kinds())
    of_one = " of one" if len(kinds) > 1 else ""
    warnings.warn(
        f"alpha={alpha} needs {int(np.ceil(1 / alpha)) - 1} {unit(calibration)} and there are "
        f"{calibration.groups}{of_one}: deciding at alpha={least:.3g}; fit on more normals.",
        stacklevel=5,
    )
    return max(threshold(kind, max(alpha, smallest_alpha(kind.groups))) for kind in kinds)


def _between(scores: Floats) -> Floats:
    """A threshold in every gap between scores, below all and at the highest; increasing."""
    known = np.unique(scores)
    lower = np.concatenate([[np.nextafter(known[0], np.float32(-np.inf))], known[:-1]])
    middle = lower + (known - lower) / 2
    # Neighbouring floats have nothing between them.
    return np.append(np.where(middle < known, middle, lower), known[-1]).astype(np.float32)


_NEXT = 3


@dataclass(frozen=True)
class Resting:
    """Names the held-out normal on which a threshold rests.

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
    """Find the one held-out normal without which a threshold of false alarms would be far lower.

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
