"""From scores to decisions with a known rate of false alarms, and the normals that back them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ROUNDING = 0.002
"""Of a score (of 1 where it is lower): five times the most that rounding was seen to move one."""


@dataclass(frozen=True)
class Calibration:
    """Holds the scores of held-out normals, on which decisions rest.

    Attributes:
        scores: (n,) of normals as nothing has learnt from them, n at least 1.
        group: (n,) int64, number of the group of each: its lot, subject or video. No group is of
            two kinds.
        kind: (n,) int64, number of the kind of normal of each: that of the fit, or one that was
            learnt since.
        in_turn: Some are held out in turn: measured without what was learnt of them, by a memory
            that has otherwise learnt from all.
    """

    scores: Floats
    group: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    in_turn: bool = False

    @staticmethod
    def of(scores: npt.ArrayLike) -> Calibration:
        """Take held-out normals of one kind, each as a group of its own."""
        values = np.asarray(scores, dtype=np.float64)
        return Calibration(values, np.arange(len(values)), np.zeros(len(values), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, which: npt.NDArray[np.bool_]) -> Calibration:
        """Choose some of the normals, by a mask."""
        return replace(
            self, scores=self.scores[which], group=self.group[which], kind=self.kind[which]
        )

    def kinds(self) -> Iterator[Calibration]:
        """Yield the normals of each kind."""
        for kind in np.unique(self.kind):
            yield self.at(self.kind == kind)

    @property
    def groups(self) -> int:
        """Count the groups of the kind that has the fewest."""
        return min(groups for _, groups in self.sizes)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Count the normals of each kind, and their groups."""
        return [(len(kind), len(np.unique(kind.group))) for kind in self.kinds()]

    def one_a_group(self) -> Floats:
        """Give the score of one normal of each group, always the same, drawn whatever its score.

        Those of one group are alike, which a test takes for a change that holds them exchangeable.
        """
        order = np.random.default_rng(0).permutation(len(self))
        _, first = np.unique(self.group[order], return_index=True)
        return self.scores[order[first]]

    def share_above(self, score: float) -> float:
        """Give the share of the normals above a score, each group weighing 1."""
        _, group = np.unique(self.group, return_inverse=True)
        above = np.bincount(group, weights=self.scores > score) / np.bincount(group)
        return float(above.mean())


def raised(scores: Floats) -> Floats:
    """Raise scores of held-out normals by what rounding may add to one.

    On one CPU an image has one score, whatever it is scored beside. Elsewhere than where the
    held-out normals were measured it may differ in the fourth digit; a held-out normal still does
    not lie above a threshold that is its own score, and errors are for fewer false alarms.
    """
    return scores + _ROUNDING * np.maximum(1, np.abs(scores))


def p_values(scores: npt.ArrayLike, calibration: Calibration) -> Floats:
    """Give split-conformal p-values; of several kinds of normal, the largest.

    Within a kind of K groups ``p = (1 + sum over groups of the share >= score) / (K + 1)``. An
    image of a new group has ``p <= alpha`` with probability at most alpha if groups are
    exchangeable, and the images within each (hierarchical conformal prediction, Lee, Barber and
    Willett, 2023). Where each image is its own group, this is ``(1 + #{>= score}) / (n + 1)``
    (Vovk et al., 2005; Bates et al., 2023). As the largest, p holds for each kind by itself.

    Args:
        scores: Any shape, higher is more anomalous.
        calibration: The held-out normals.

    Returns:
        In (0, 1], in the shape of ``scores``.
    """
    values = np.asarray(scores)
    return np.max([_p_values(values, kind) for kind in calibration.kinds()], axis=0)


def smallest_alpha(groups: int) -> float:
    """Give the smallest share of false alarms that so many held-out groups can support."""
    return 1 / (groups + 1)


def threshold(calibration: Calibration, alpha: float) -> float:
    """Find the held-out score above which a score has a p-value of at most alpha.

    Args:
        calibration: The held-out normals.
        alpha: In [1 / (K + 1), 1), K being the groups of the kind of normal that has the fewest.

    Raises:
        ValueError: alpha is not in the range that the held-out normals support.
    """
    least = smallest_alpha(calibration.groups)
    if not least <= alpha < 1:
        raise ValueError(
            f"alpha is {alpha}; {calibration.groups} {unit(calibration)} support {least:.3g} to "
            "below 1."
        )
    return max(_threshold(kind, alpha) for kind in calibration.kinds())


def unit(calibration: Calibration) -> str:
    """Say what is counted: held-out normals, or their groups where these are of several images.

    Where normals are of several kinds, those of the kind that has the fewest are counted.
    """
    fewest = min(calibration.kinds(), key=lambda kind: kind.groups)
    alone = fewest.groups == len(fewest)
    counted = "held-out normals" if alone else "groups of held-out normals"
    return counted if len(np.unique(calibration.kind)) == 1 else f"{counted} of each kind"


def _p_values(scores: npt.NDArray[np.floating], kind: Calibration) -> Floats:
    reference, weight = _descending(kind)
    at_least = len(reference) - np.searchsorted(reference[::-1], scores, side="left")
    return (1 + np.concatenate([[0.0], weight])[at_least]) / (kind.groups + 1)


def _threshold(kind: Calibration, alpha: float) -> float:
    reference, weight = _descending(kind)
    # A share just below k / (n + 1) is taken for it: it was most probably meant.
    allowed = alpha * (kind.groups + 1) - 1 + 1e-9
    above = np.searchsorted(-reference, -reference, side="left")
    return float(reference[np.concatenate([[0.0], weight])[above] <= allowed][-1])


def _descending(kind: Calibration) -> tuple[Floats, Floats]:
    """Scores from the highest down, and the weight of all down to each: a group weighs 1."""
    _, group, size = np.unique(kind.group, return_inverse=True, return_counts=True)
    order = np.argsort(-kind.scores, kind="stable")
    # Thirds add up to one.
    return kind.scores[order], np.cumsum(1 / size[group][order]).round(9)
