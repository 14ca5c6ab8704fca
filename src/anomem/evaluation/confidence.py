"""How sure measured figures are: bootstrap intervals of figures and of curves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from anomem.evaluation.metrics import labelled

GRID = np.linspace(0, 1, 201)
"""Shares at which curves are given."""

_RESAMPLES = 300
_PERCENTILES = (2.5, 97.5)

Values = npt.NDArray[np.float64]


def interval(
    measure: Callable[[Values, Values], npt.ArrayLike],
    normal: npt.ArrayLike,
    anomalous: npt.ArrayLike,
    seed: int = 0,
) -> tuple[Values, Values]:
    """The 95% interval of a figure, or of each point of a curve, by the percentile bootstrap.

    Normal and anomalous images are drawn again, each among themselves, 300 times (Efron, Annals of
    Statistics 1979).

    Args:
        measure: From scores of normal and of anomalous images to a figure or a curve.
        normal: Scores of normal images, at least one.
        anomalous: Scores of anomalous images, at least one.
        seed: Of the draws.

    Returns:
        Lower and upper end, each of the shape of what is measured.
    """
    rng = np.random.default_rng(seed)
    good, odd = np.asarray(normal, dtype=float), np.asarray(anomalous, dtype=float)
    drawn = [
        np.asarray(measure(rng.choice(good, len(good)), rng.choice(odd, len(odd))))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(drawn, _PERCENTILES, axis=0)
    return low, high


def roc(normal: Values, anomalous: Values) -> Values:
    """Share of anomalies found where a share ``GRID`` of the normals is called anomalous."""
    false, found, _ = roc_curve(*labelled(normal, anomalous), drop_intermediate=False)
    curve: Values = np.interp(GRID, false, found)
    return curve


def precision(normal: Values, anomalous: Values) -> Values:
    """Share of anomalies among what is called anomalous where a share ``GRID`` of them is found."""
    right, found, _ = precision_recall_curve(*labelled(normal, anomalous))
    curve: Values = np.interp(GRID, found[::-1], right[::-1])
    return curve


def overkill(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Share of normals called anomalous where no anomaly escapes, in [0, 1]."""
    return float((np.asarray(normal) >= np.min(anomalous)).mean())
