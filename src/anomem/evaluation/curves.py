"""Curves of scores, and the bands that hold each of their points."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_curve

from anomem.evaluation.intervals import Values, share_above
from anomem.evaluation.metrics import labelled

GRID = np.linspace(0, 1, 201)
"""Shares at which curves are given."""


def roc(normal: Values, anomalous: Values) -> Values:
    """Share of anomalies found where a share ``GRID`` of the normals is called anomalous."""
    false, found, _ = roc_curve(*labelled(normal, anomalous), drop_intermediate=False)
    curve: Values = np.interp(GRID, false, found)
    return curve


def roc_band(normal: Values, anomalous: Values) -> tuple[Values, Values]:
    """Bounds of the same over all images of their kind, 95% at each point."""
    return share_above(anomalous, normal, GRID)


def precision(normal: Values, anomalous: Values) -> Values:
    """Share of anomalies among what is called anomalous where a share ``GRID`` of them is found."""
    found = np.maximum(np.ceil(GRID * len(anomalous) - 1e-9), 1).astype(int)
    line = np.sort(anomalous)[::-1][found - 1]
    false = len(normal) - np.searchsorted(np.sort(normal), line, side="left")
    curve: Values = found / (found + false)
    return curve


def precision_band(normal: Values, anomalous: Values) -> tuple[Values, Values]:
    """Bounds of the same with as many images of either kind, 95% at each point."""
    low, high = share_above(normal, anomalous, GRID)
    found = np.maximum(GRID, GRID[1]) * len(anomalous)
    return found / (found + high * len(normal)), found / (found + low * len(normal))
