"""How many false alarms to expect of a threshold, given the held-out normals that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import floor
from typing import Any

from scipy.special import betaincinv, smirnovi

from anomem.decision.calibrate import Calibration, smallest_alpha
from anomem.decision.threshold import FalseAlarms, Rule

_TAIL = 0.05
"""How often the rate may be above a range, and where the range has a lower end, how often below."""
_STANDARD = (99, 199, 499, 999)
"""Numbers of held-out normals that are advised; no fit holds out more than 1,000."""
_WORTH_TELLING = 0.9
"""More held-out normals are advised where the rate is then below so much of what it may be now."""


@dataclass(frozen=True)
class KindAlarms:
    """Tells the share of new normals of one kind that a threshold will call anomalous.

    Attributes:
        held_out: Held-out normals of the kind, at least 1.
        groups: Of so many groups.
        alpha: Share at which is decided; None where the rule promises none.
        low: The share is below in one of twenty draws of the held-out normals; 0 where that is not
            known.
        high: It is above in one of twenty, or in fewer.
    """

    held_out: int
    groups: int
    alpha: float | None
    low: float
    high: float


@dataclass(frozen=True)
class ExpectedAlarms:
    """Tells the false alarms to expect of a threshold, as a sentence by ``str``.

    Attributes:
        kinds: Of each kind of normal, that of the fit first.
        advised: A larger number of held-out normals, or of groups of them, that would tell more;
            None where there is none, or where it is not known what it would tell.
        then: The lower and the higher end that it would give each kind.
    """

    kinds: tuple[KindAlarms, ...]
    advised: int | None = None
    then: tuple[float, float] = (0.0, 1.0)

    def as_json(self) -> dict[str, Any]:
        """Give all of it, with the sentence."""
        return {"words": str(self), **asdict(self)}

    def __str__(self) -> str:
        """Give the sentence, without a full stop."""
        first = self.kinds[0]
        shares = _words(first.low, first.high) + " of new normals"
        if len(self.kinds) > 1:
            shares += " of kind 1"
        for number, kind in enumerate(self.kinds[1:], start=2):
            shares += f", {_words(kind.low, kind.high)} of kind {number}"
        odds = "nine times in ten" if first.low else "nineteen times in twenty"
        if first.alpha is None:
            return (
                "a threshold that labels set promises no rate of false alarms: it calls "
                f"{shares} anomalous, {odds}"
            )
        alphas = " and ".join(
            f"{alpha:.3g}" for alpha in dict.fromkeys(k.alpha for k in self.kinds)
        )
        line = f"at alpha={alphas}, {shares} will be called anomalous, {odds}"
        if self.advised is None:
            return line
        grouped = any(kind.groups < kind.held_out for kind in self.kinds)
        counted = "groups of held-out normals" if grouped else "held-out normals"
        each = " of each kind" if len(self.kinds) > 1 else ""
        return f"{line}; {self.advised} {counted}{each} would make it {_words(*self.then)}"


def expected_alarms(
    rule: Rule, calibration: Calibration, threshold: Callable[[], float]
) -> ExpectedAlarms:
    """Tell the false alarms to expect of a rule.

    At a share alpha they are those of :func:`expected_at`. A threshold that labels set may lie
    anywhere among the held-out normals: that the share of all normals above it exceeds that of the
    held-out ones is bounded at all thresholds at once, by Smirnov's exact one-sided law.

    Args:
        rule: By which the threshold is set.
        calibration: Held-out normals.
        threshold: Gives it; called where the rule is one that labels allow.
    """
    if isinstance(rule, FalseAlarms):
        return expected_at(rule.alpha, calibration.sizes, in_turn=calibration.in_turn)
    line, found = threshold(), []
    for kind in calibration.kinds():
        bound = kind.share_above(line) + float(smirnovi(kind.groups, _TAIL))
        found.append(KindAlarms(len(kind), kind.groups, None, 0.0, min(bound, 1.0)))
    return ExpectedAlarms(tuple(found))


def expected_at(
    alpha: float, sizes: Sequence[tuple[int, int]], *, in_turn: bool = False
) -> ExpectedAlarms:
    """Tell the false alarms to expect at a share alpha.

    With the k-th largest of n exchangeable scores as threshold, the share of all normals above it
    is distributed as Beta(k, n + 1 - k) (Vovk, 2012). Of several images a group it is at most that
    of as many images as there are groups, and of several kinds, where the highest threshold
    decides, at most that of each by itself: then the range has no lower end. Nor has it one where
    normals are held out in turn: they are measured by less than new ones, and so score higher.

    Args:
        alpha: In (0, 1). A kind of too few held-out normals is decided at the smallest share that
            they support.
        sizes: Of each kind its held-out normals and their groups, at least one of each.
        in_turn: Some of them are held out in turn; none by default.

    Example:
        >>> print(expected_at(0.05, [(19, 19)]))
        at alpha=0.05, 0.3% to 15% of new normals will be called anomalous, nine times in ten; \
99 held-out normals would make it 2% to 9%
    """
    alone = len(sizes) == 1 and sizes[0][0] == sizes[0][1] and not in_turn
    kinds = []
    for held_out, groups in sizes:
        decided = max(alpha, smallest_alpha(groups))
        low, high = _range(decided, groups, single=groups == held_out)
        kinds.append(KindAlarms(held_out, groups, decided, low if alone else 0.0, high))
    fewest, highest = min(groups for _, groups in sizes), max(kind.high for kind in kinds)
    for count in _STANDARD:
        if count > fewest and alpha >= smallest_alpha(count):
            low, high = _range(alpha, count, single=True)
            if high <= _WORTH_TELLING * highest:
                return ExpectedAlarms(tuple(kinds), count, (low if alone else 0.0, high))
    return ExpectedAlarms(tuple(kinds))


def _range(alpha: float, groups: int, *, single: bool) -> tuple[float, float]:
    """Give the lower and the higher end of the rate; ``single`` where each group is one image."""
    # Shares of groups add up to fractions, of which the threshold allows alpha (groups + 1) - 1.
    rank = alpha * (groups + 1)
    if single:
        rank = floor(rank + 1e-9)
    low, high = (betaincinv(rank, groups + 1 - rank, tail) for tail in (_TAIL, 1 - _TAIL))
    return float(low), float(high)


def _words(low: float, high: float) -> str:
    """Put a range of shares into words."""
    ends = [f"{float(f'{100 * end:.{0 if end >= 0.1 else 1}f}'):g}%" for end in (low, high)]
    return f"{ends[0]} to {ends[1]}" if low else f"up to {ends[1]}"
