"""How sure measured figures are: 95% intervals that hold with ten anomalies as with a thousand.

Images are taken for independent draws, normal and anomalous ones each from all of their kind. Of
several pictures of one part, lot or subject that is not true, and intervals are too narrow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betaincinv, expit, logit, stdtrit
from scipy.stats import binom, norm, rankdata

from anomem.evaluation.metrics import average_precision

Values = npt.NDArray[np.float64]
Interval = tuple[float, float]

_TAIL = 0.025
"""How often the truth may lie above an interval, and how often below."""
_QUANTILE = float(norm.isf(_TAIL))


def detection_intervals(
    normal: npt.ArrayLike, anomalous: npt.ArrayLike, threshold: float
) -> dict[str, Interval]:
    """Intervals of :func:`~anomem.evaluation.metrics.detection_metrics` and of the two rates.

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of anomalous images, at least one.
        threshold: Score above which an image is called anomalous; found without these images.

    Returns:
        By name, also of ``false_alarm_rate`` and ``detection_rate`` at the threshold.
    """
    good, odd = np.asarray(normal), np.asarray(anomalous)
    false, found = int((good > threshold).sum()), int((odd > threshold).sum())
    alarms, detection = rate_interval(false, len(good)), rate_interval(found, len(odd))
    fpr = share_above(good, odd, [0.95])
    return {
        "auroc": auroc_interval(good, odd),
        "average_precision": average_precision_interval(good, odd),
        "fpr_at_95_tpr": (float(fpr[0][0]), float(fpr[1][0])),
        "f1": (
            _f1(detection[0], len(odd), alarms[1], len(good)),
            _f1(detection[1], len(odd), alarms[0], len(good)),
        ),
        "false_alarm_rate": alarms,
        "detection_rate": detection,
    }


def rate_interval(count: float, total: float) -> Interval:
    """Of a rate, by Clopper and Pearson (1934): exact, whatever the rate and the number.

    Args:
        count: How many, 0 to ``total``; neither need be whole.
        total: Of how many, above 0.
    """
    low, high = _lower_rate(np.asarray(count), total), _upper_rate(np.asarray(count), total)
    return float(low), float(high)


def auroc_interval(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> Interval:
    """Of the AUROC: from the lower to the higher end of two intervals that fail in turn.

    That of DeLong et al. (1988), on the logit and with Student's t, is too narrow where nearly all
    pairs are in order; that of Newcombe (2006), which takes scores for exponential, where anomalies
    are of several kinds. Where all pairs are in order there is a bound without assumptions: k pairs
    share no image, k being the smaller number of images, and all are in order with a probability of
    the AUROC to the power of k.

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


def average_precision_interval(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> Interval:
    """Of the average precision, taken for a rate among as many images as there are anomalies.

    A binomial interval, as Boyd et al. (2013) found to hold best, though here the exact one.

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of anomalous images, at least one.
    """
    anomalies = np.size(np.asarray(anomalous))
    return rate_interval(average_precision(normal, anomalous) * anomalies, anomalies)


def overkill(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Share of normals called anomalous where none of these anomalies escapes, in [0, 1]."""
    return float((np.asarray(normal) >= np.min(anomalous)).mean())


def overkill_interval(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> Interval:
    """Of the share of all normals above that line, the lowest of these anomalies; exact.

    Another set of anomalies has another lowest, see :func:`escape_bound`.

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of anomalous images, at least one.
    """
    good = np.asarray(normal)
    return rate_interval(int((good >= np.min(anomalous)).sum()), len(good))


def escape_bound(anomalies: int) -> float:
    """The share of all anomalies that lies below the lowest of so many, with 95% confidence.

    On average it is ``1 / (anomalies + 1)``; the least of n draws is a first order statistic,
    whatever the distribution, so this is exact.
    """
    return float(1 - (2 * _TAIL) ** (1 / anomalies))


def share_above(
    scores: npt.ArrayLike, reference: npt.ArrayLike, share: npt.ArrayLike
) -> tuple[Values, Values]:
    """Bounds of the share of scores above a line, above which lies a given share of a reference.

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
    return _lower_rate(fewest, total), _upper_rate(most, total)


def _lower_rate(count: npt.NDArray[np.floating | np.integer], total: float) -> Values:
    some = np.maximum(count, np.finfo(float).tiny)
    return np.where(count > 0, betaincinv(some, total - count + 1, _TAIL), 0.0)


def _upper_rate(count: npt.NDArray[np.floating | np.integer], total: float) -> Values:
    rest = np.maximum(total - count, np.finfo(float).tiny)
    return np.where(count < total, betaincinv(count + 1, rest, 1 - _TAIL), 1.0)


def _f1(detection: float, anomalies: int, alarms: float, normals: int) -> float:
    found = detection * anomalies
    return 2 * found / (found + alarms * normals + anomalies)


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
