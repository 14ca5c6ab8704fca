"""How well scores tell anomalies from normals: figures, and the curves behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

Values = npt.NDArray[np.float64]

GRID: Values = np.linspace(0, 1, 201)
"""Shares at which curves are given."""


def detection_metrics(
    normal: npt.ArrayLike, anomalous: npt.ArrayLike, threshold: float
) -> dict[str, float]:
    """Measure scores, higher being more anomalous; anomalies are the positives.

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of anomalous images, at least one.
        threshold: Score above which an image is called anomalous.

    Returns:
        ``auroc``; ``average_precision``; ``fpr_at_95_tpr``, the least share of false alarms at
        which 95% of the anomalies are found; ``f1`` at the threshold. All in [0, 1].
    """
    label, score = labelled(normal, anomalous)
    false_rate, true_rate, _ = roc_curve(label, score, drop_intermediate=False)
    return {
        "auroc": auroc(normal, anomalous),
        "average_precision": average_precision(normal, anomalous),
        "fpr_at_95_tpr": float(false_rate[np.argmax(true_rate >= 0.95)]),
        "f1": float(f1_score(label, score > threshold)),
    }


def auroc(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Take the area under the ROC curve: the chance that an anomaly scores above a normal image."""
    return float(roc_auc_score(*labelled(normal, anomalous)))


def average_precision(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Average the precision over the anomalies found, from the highest score down."""
    return float(average_precision_score(*labelled(normal, anomalous)))


def roc_on_grid(normal: Values, anomalous: Values) -> Values:
    """Give the share of anomalies found where a share ``GRID`` of normals is called anomalous."""
    false, found, _ = roc_curve(*labelled(normal, anomalous), drop_intermediate=False)
    curve: Values = np.interp(GRID, false, found)
    return curve


def precision_recall_on_grid(normal: Values, anomalous: Values) -> Values:
    """Give the share of anomalies among those called so where a share ``GRID`` of them is found."""
    found = np.maximum(np.ceil(GRID * len(anomalous) - 1e-9), 1).astype(int)
    line = np.sort(anomalous)[::-1][found - 1]
    false = len(normal) - np.searchsorted(np.sort(normal), line, side="left")
    curve: Values = found / (found + false)
    return curve


def overkill(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Give the share of normals called anomalous where none of these anomalies escapes, 0 to 1."""
    return float((np.asarray(normal) >= np.min(anomalous)).mean())


def labelled(
    normal: npt.ArrayLike, anomalous: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Give label and score of all images, normals first."""
    scores = [np.asarray(normal), np.asarray(anomalous)]
    return np.repeat([0, 1], [len(part) for part in scores]), np.concatenate(scores)
