"""How sure measured figures are: 95% intervals that hold with ten anomalies as with a thousand.

Images are taken for independent draws, normal and anomalous ones each from all of their kind. Of
several pictures of one part, lot or subject that is not true, and intervals are too narrow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit, stdtrit
from scipy.stats import beta, binom, norm, rankdata

from anomem.evaluation.metrics import GRID, Values, average_precision

Interval = tuple[float, float]

_TAIL = 0.025
"""How often the truth may lie above an interval, and how often below."""
_QUANTILE = float(norm.isf(_TAIL))


def detection_intervals(
    normal: npt.ArrayLike, anomalous: npt.ArrayLike, threshold: float
) -> dict[str, Interval]:
    """Bound :func:`~anomem.evaluation.metrics.detection_metrics` and the two rates.

    That of the average precision is the exact binomial one of as many images as there are
    anomalies: Boyd et al. (2013) found binomial intervals to hold best. That of F1 goes from the
    worst to the best ends of its two rates.

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of anomalous images, at least one.
        threshold: Score above which an image is called anomalous; found without these images.

    Returns:
        By name, also of ``false_alarm_rate`` and ``detection_rate`` at the threshold.
    """
    good, odd = np.asarray(normal), np.asarray(anomalous)
    alarms = rate_interval(int((good > threshold).sum()), len(good))
    detection = rate_interval(int((odd > threshold).sum()), len(odd))

    def f1(detected: float, alarmed: float) -> float:
        return 2 * detected * len(odd) / ((detected + 1) * len(odd) + alarmed * len(good))

    low, high = share_above(good, odd, [0.95])
    return {
        "auroc": auroc_interval(good, odd),
        "average_precision": rate_interval(average_precision(good, odd) * len(odd), len(odd)),
        "fpr_at_95_tpr": (float(low[0]), float(high[0])),
        "f1": (f1(detection[0], alarms[1]), f1(detection[1], alarms[0])),
        "false_alarm_rate": alarms,
        "detection_rate": detection,
    }


def rate_interval(count: float, total: float) -> Interval:
    """Bound a rate by Clopper and Pearson (1934): exact, whatever the rate and the number.

    Args:
        count: How many, 0 to ``total``; need not be whole, as it must for scipy's ``binomtest``.
        total: Of how many, above 0.
    """
    return float(_lowest_rate(count, total)), float(_highest_rate(count, total))


def auroc_interval(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> Interval:
    """Bound the AUROC: from the lower to the higher end of two intervals that fail in turn.

    That of DeLong et al. (1988), on the logit and with Student's t, is too narrow where nearly all
    pairs are in order; that of Newcombe (2006), which takes scores for exponential, where anomalies
    are of several kinds. Where all pairs are in order there is a bound without assumptions: k pairs
    share no image, k being the smaller number of images, and all are in order with a probability of
    the AUROC to the power of k. The bootstrap covers less than all of these
    (docs/explain/evaluation.md).

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of anomalous images, at least one.
    """
    good, odd = np.asarray(normal, dtype=float), np.asarray(anomalous, dtype=float)
    # Of the other kind, the share that each image is rightly above or below; a tie is half.
    above, below = _outranked(odd, good), 1 - _outranked(good, odd)
    value, fewest = float(above.mean()), min(len(good), len(odd))
    if value in (0, 1):
        bound = _TAIL ** (1 / fewest)
        return (bound, 1.0) if value == 1 else (0.0, 1 - bound)
    if fewest == 1:
        return 0.0, 1.0
    low, high = _newcombe(value, len(good), len(odd))
    parts = np.array([above.var(ddof=1) / len(odd), below.var(ddof=1) / len(good)])
    if parts.sum() > 0:
        freedom = parts.sum() ** 2 / (parts**2 / [len(odd) - 1, len(good) - 1]).sum()
        half = -stdtrit(freedom, _TAIL) * np.sqrt(parts.sum()) / (value * (1 - value))
        low = min(low, float(expit(logit(value) - half)))
        high = max(high, float(expit(logit(value) + half)))
    return low, high


def overkill_interval(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> Interval:
    """Bound the share of all normals above the lowest of these anomalies, exactly.

    Another set of anomalies has another lowest, see :func:`escape_bound`.
    """
    good = np.asarray(normal)
    return rate_interval(int((good >= np.min(anomalous)).sum()), len(good))


def escape_bound(anomalies: int) -> float:
    """Bound the share of all anomalies below the lowest of so many, with 95% confidence.

    On average it is ``1 / (anomalies + 1)``; the least of n draws is a first order statistic,
    whatever the distribution, so this is exact.
    """
    return float(1 - (2 * _TAIL) ** (1 / anomalies))


def roc_band(normal: Values, anomalous: Values) -> tuple[Values, Values]:
    """Bound :func:`~anomem.evaluation.metrics.roc_on_grid` over all images, 95% a point."""
    return share_above(anomalous, normal, GRID)


def precision_recall_band(normal: Values, anomalous: Values) -> tuple[Values, Values]:
    """Bound :func:`~anomem.evaluation.metrics.precision_recall_on_grid`, 95% a point.

    They hold for as many images of either kind as were measured.
    """
    low, high = share_above(normal, anomalous, GRID)
    found = np.maximum(GRID, GRID[1]) * len(anomalous)
    return found / (found + high * len(normal)), found / (found + low * len(normal))


def share_above(
    scores: npt.ArrayLike, reference: npt.ArrayLike, share: npt.ArrayLike
) -> tuple[Values, Values]:
    """Bound the share of scores above a line, above which lies a given share of a reference.

    Where the line is, is told by order statistics of the reference, and what lies above it by
    Clopper and Pearson (Schaefer, 1994), each at 95%: together they are no narrower than their sum
    in quadrature.

    Args:
        scores: (n,), n at least 1.
        reference: (m,), m at least 1.
        share: (K,) of all of the reference, in [0, 1].

    Returns:
        Lower and upper bound, each (K,).
    """
    measured, drawn = np.sort(np.asarray(scores, float)), np.sort(np.asarray(reference, float))
    wanted, count, total = np.asarray(share, dtype=float), len(drawn), len(measured)
    line = np.concatenate([[np.inf], drawn[::-1], [-np.inf]])
    highest = line[binom.ppf(_TAIL, count, wanted).clip(0).astype(int)]
    lowest = line[binom.isf(_TAIL, count, wanted).astype(int) + 1]
    fewest = total - np.searchsorted(measured, highest, side="right")
    most = total - np.searchsorted(measured, lowest, side="left")
    return _lowest_rate(fewest, total), _highest_rate(most, total)


def _lowest_rate(count: npt.ArrayLike, total: float) -> Values:
    found = np.asarray(count)
    return np.nan_to_num(beta.ppf(_TAIL, found, total - found + 1), nan=0.0)


def _highest_rate(count: npt.ArrayLike, total: float) -> Values:
    found = np.asarray(count)
    return np.nan_to_num(beta.isf(_TAIL, found + 1, total - found), nan=1.0)


def _outranked(scores: Values, others: Values) -> Values:
    """Share of the others that each score is above; a tie counts half."""
    among = rankdata(np.concatenate([scores, others]))[: len(scores)] - rankdata(scores)
    share: Values = among / len(others)
    return share


def _newcombe(value: float, normals: int, anomalies: int) -> Interval:
    """Where the AUROC is too far off by the variance that Hanley and McNeil (1982) give it."""
    mean, pairs = (normals + anomalies) / 2 - 1, normals * anomalies

    def excess(true: float) -> float:
        spread = 1 + mean * (1 - true) / (2 - true) + mean * true / (1 + true)
        return (value - true) ** 2 - _QUANTILE**2 * true * (1 - true) * spread / pairs

    return float(brentq(excess, 0, value)), float(brentq(excess, value, 1))
