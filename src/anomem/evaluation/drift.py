"""Whether new images are still like the held-out normals: a test that may be looked at always."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from anomem.decision.calibrate import Calibration

Floats = npt.NDArray[np.float64]
Cause = Literal["more anomalies", "higher scores", "lower scores"]

ALPHA = 0.01
"""The probability that a change is ever told where there is none."""
RECENT = 1000
"""Images that are recent: looked at for where a change began, and for which it stands as told."""
_SURE = 0.9
"""Share of the evidence that a cause must have to be told beside another that stands as told."""
_NAMED = 5
_MOST = 100_000
"""Scores that are compared with; where there are more, a random half of them is left."""
_PATIENCE = 20
"""Images of which the first ones are bet on most; a change after thousands still costs little."""

_TAIL, _POWER = 0.05, 0.25
_SHARES = np.array([0.01, 0.03, 0.1, 0.3])
"""Anomalies among the images: of p-values within the tail, the smaller the more."""
_SHIFTS = np.array([0.5, 1.0, 2.0, 4.0, -0.5, -1.0, -2.0])
"""Of all scores, in standard deviations where those are normally distributed."""
_BETS: dict[Cause, slice] = {  # those that pay the less the higher a p-value is come first
    "more anomalies": slice(0, 4),
    "higher scores": slice(4, 8),
    "lower scores": slice(8, 11),
}
_COUNT = len(_SHARES) + len(_SHIFTS)
_IN_TURN = _BETS["lower scores"].start
"""So many bets where held-out normals may lie higher than new ones."""


@dataclass(frozen=True)
class Change:
    """Tells that the images are no longer like the held-out normals.

    Attributes:
        cause: "more anomalies" where the other images are as they were; "higher scores" or "lower
            scores" where all have shifted, as when light, focus or camera change.
        share: Of the evidence, in (0, 1], that is for this cause and not for the others.
        image: Name of the image at which it is told.
        seen: The number of images until then.
        since: Name of the image with which it seems to have begun, of the last 1,000.
        delay: Images from there on.
        images: Names of those, at most five, that speak most for it, the strongest first.
    """

    cause: Cause
    share: float
    image: str
    seen: int
    since: str
    delay: int
    images: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Give all of it, with the sentence."""
        return {"words": str(self), **asdict(self)}

    def __str__(self) -> str:
        """Give the sentence, without a full stop."""
        what = {
            "more anomalies": "more images are anomalous than before, and the others as they were",
            "higher scores": "all images score higher, as where light, focus or product change",
            "lower scores": "all images score lower, as where light, focus or product change",
        }[self.cause]
        return (
            f"the images have changed since about {self.since}: {what} ({self.share:.0%} of the "
            f"evidence); look at {', '.join(self.images)}"
        )


class Drift:
    """Tests, image by image, whether scores are still like those of the held-out normals.

    Each image has a p-value by its rank among the held-out normals *and all images before it*.
    As long as all of these are exchangeable, such p-values are independent and uniform, however few
    normals are held out (Vovk et al., 2003), where those by the held-out normals alone share their
    chance deviations, which a test of thousands of images would find. Bets against uniformity are
    then a martingale, which begins at 1 and reaches 100 with a probability of at most 1% *ever*
    (Ville's inequality): a change is told when it does. The bets begin at every image anew, with
    shares of the stake that decrease slowly, so that a change after 10,000 images is told too. Each
    is the density that p-values have under one kind of change, and the kind whose bets have won
    most is told as its cause.

    Normals that are held out in turn are measured by a memory that lacks them and may score a
    little higher than new ones, also those that labels have taught. That raises p-values, so that
    bets on lower scores would win where nothing has changed; there are none then, and the other
    bets, which all pay the less the higher a p-value is, win no more than they would.

    After it has told a change it begins anew at the held-out normals, and tells the next when 1,000
    images have shown none; before that another cause alone, if it is sure of it.

    Args:
        calibration: Scores of held-out normals; one of each group counts.

    Example:
        >>> import numpy as np
        >>> drift = Drift(Calibration.of(np.linspace(-2, 2, 99)))
        >>> for number in range(40):
        ...     change = drift.take(f"{number}.png", 0.5 * (number % 5) - 1)
        ...     assert change is None
        >>> changes = [drift.take(f"dark-{number}.png", 3.0) for number in range(10)]
        >>> print(next(change.cause for change in changes if change))
        higher scores
    """

    def __init__(self, calibration: Calibration) -> None:
        self._bets = _IN_TURN if calibration.in_turn else _COUNT
        self._held_out = array("d", np.sort(calibration.one_a_group()).tolist())
        self.seen = 0
        self.latest: Change | None = None
        self._quiet = 0
        self._begin()

    def _begin(self) -> None:
        """Bet anew, against the held-out normals alone."""
        self._scores = self._held_out[:]
        self._capital: Floats = np.zeros(self._bets)
        self._since = 0
        self._recent: deque[tuple[str, Floats]] = deque(maxlen=RECENT)

    def take(self, name: str, score: float) -> Change | None:
        """Take the score of the next image.

        Args:
            name: Of the image, for whoever looks at it.
            score: Finite; leave out images that cannot be read.

        Returns:
            A change, once when it is found.
        """
        count = len(self._scores)
        above = count - bisect_right(self._scores, score)
        at_least = count - bisect_left(self._scores, score)
        paid = payments(above / (count + 1), (at_least + 1) / (count + 1))[: self._bets]
        self._capital = bet(self._capital, self._since, paid)
        self._recent.append((name, paid))
        self.seen, self._since, self._quiet = self.seen + 1, self._since + 1, self._quiet + 1
        if self.evidence >= 1 / ALPHA:
            return self._told(name)
        if count >= _MOST:
            self._scores = array("d", sorted(Random(self.seen).sample(self._scores, _MOST // 2)))
        insort(self._scores, score)
        return None

    @property
    def evidence(self) -> float:
        """Give what the stake has become: 1 at first, 100 when a change is told."""
        return float(reserve(self._since) + self._capital.sum())

    @property
    def current(self) -> Change | None:
        """Give the latest change, if it has been seen among the last 1,000 images."""
        return self.latest if self._quiet < RECENT else None

    def _told(self, name: str) -> Change | None:
        """The change that has been found; None where it is the current one."""
        won = {cause: float(self._capital[bets].sum()) for cause, bets in _BETS.items()}
        cause = max(won, key=lambda each: won[each])
        best = _BETS[cause].start + int(self._capital[_BETS[cause]].argmax())
        names = [each for each, _ in self._recent]
        gains = np.log(np.maximum([paid[best] for _, paid in self._recent], 1e-300))
        length = int(gains[::-1].cumsum().argmax()) + 1
        strongest = len(names) - length + np.argsort(-gains[-length:], kind="stable")[:_NAMED]
        change = Change(
            cause,
            won[cause] / sum(won.values()),
            name,
            self.seen,
            names[-length],
            length,
            tuple(names[index] for index in strongest),
        )
        known, self._quiet = self.current, 0
        self._begin()
        if known is not None and (known.cause == cause or change.share < _SURE):
            return None
        self.latest = change
        return change


def first_change(calibration: Calibration, scores: Mapping[str, float]) -> Change | None:
    """Find the first change among images that are there all at once.

    Args:
        calibration: As of :class:`Drift`.
        scores: Of the images by name, in the order in which they came about.
    """
    drift = Drift(calibration)
    found = (drift.take(name, score) for name, score in scores.items())
    return next((change for change in found if change is not None), None)


def payments(low: npt.ArrayLike, high: npt.ArrayLike) -> Floats:
    """Give what each bet pays on a p-value of which only two ends are known.

    This is the mean of its density between them, so that nothing is drawn at random.

    Args:
        low: In [0, 1), any shape.
        high: In (low, 1], of that shape.

    Returns:
        Of that shape, and last the bets; the mean over all of [0, 1] is 1.
    """
    ends = (
        np.asarray(low, dtype=np.float64)[..., None],
        np.asarray(high, dtype=np.float64)[..., None],
    )
    return np.maximum(_share_below(ends[1]) - _share_below(ends[0]), 0) / (ends[1] - ends[0])


def bet(capital: Floats, seen: int, paid: Floats) -> Floats:
    """Let each bet win or lose, with a further part of the stake.

    Args:
        capital: (..., bets) of each bet so far, 0 at first.
        seen: The number of images before this one.
        paid: (..., bets) of :func:`payments`.
    """
    return (capital + (reserve(seen) - reserve(seen + 1)) / paid.shape[-1]) * paid


def reserve(seen: int) -> float:
    """Give the share of the stake that is not yet bet after so many images."""
    return float(np.log(_PATIENCE) / np.log(_PATIENCE + seen))


def _share_below(p: Floats) -> Floats:
    """What each bet holds probable: p-values (..., 1) at most so large, (..., bets)."""
    anomalous = np.minimum(p / _TAIL, 1) ** _POWER
    return np.concatenate([p + _SHARES * (anomalous - p), ndtr(ndtri(p) + _SHIFTS)], axis=-1)
