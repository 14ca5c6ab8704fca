"""How well scores tell anomalies from normals: figures, and the curves behind them."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Metrics of scores, higher being more anomalous; anomalies are the positives.

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
    """Area under the ROC curve: the chance that an anomaly scores above a normal image."""
    return float(roc_auc_score(*labelled(normal, anomalous)))


def average_precision(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Precision averaged over the anomalies found, from the highest score down."""
    return float(average_precision_score(*labelled(normal, anomalous)))


def ood_metrics(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> dict[str, float]:
    """Metrics of the out-of-distribution literature, normals being the images in distribution.

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of images out of distribution, at least one.

    Returns:
        ``auroc``; ``aupr_out`` and ``aupr_in``, the average precision with the images out of, and
        in, distribution as the positives; ``fpr95``, the share of images out of distribution that
        pass where 95% of the normals pass. All in [0, 1].
    """
    label, score = labelled(normal, anomalous)
    let_in, passed, _ = roc_curve(1 - label, -score, drop_intermediate=False)
    return {
        "auroc": auroc(normal, anomalous),
        "aupr_out": float(average_precision_score(label, score)),
        "aupr_in": float(average_precision_score(1 - label, -score)),
        "fpr95": float(let_in[np.argmax(passed >= 0.95)]),
    }


def attack_metrics(
    bona_fide: npt.ArrayLike, attacks: Mapping[str, npt.ArrayLike], threshold: float
) -> dict[str, float]:
    """Error rates of the detection of presentation attacks (ISO/IEC 30107-3).

    Args:
        bona_fide: Scores of bona fide presentations, at least one.
        attacks: Scores of attacks by their kind (the standard's instrument species), at least one
            each.
        threshold: Score above which a presentation is called an attack; found without these
            scores.

    Returns:
        ``apcer``, the largest share over the kinds of attacks that are called bona fide;
        ``bpcer``, the share of bona fide presentations that are called attacks; ``acer``, their
        mean; ``eer``, over all kinds together and at any threshold, where the two shares of
        errors are equal or, on steps, their mean where they are nearest. All in [0, 1].
    """
    normal = np.asarray(bona_fide)
    apcer = max(float((np.asarray(scores) <= threshold).mean()) for scores in attacks.values())
    bpcer = float((normal > threshold).mean())
    everything = np.concatenate([np.asarray(scores) for scores in attacks.values()])
    return {
        "apcer": apcer,
        "bpcer": bpcer,
        "acer": (apcer + bpcer) / 2,
        "eer": equal_error_rate(normal, everything),
    }


def equal_error_rate(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Where as large a share of normals is called anomalous as of anomalies normal, in [0, 1]."""
    false, true, _ = roc_curve(*labelled(normal, anomalous), drop_intermediate=False)
    nearest = np.argmin(np.abs(false - (1 - true)))
    return float((false[nearest] + 1 - true[nearest]) / 2)


def roc_on_grid(normal: Values, anomalous: Values) -> Values:
    """ROC curve: share of anomalies found where a share ``GRID`` of normals is called anomalous."""
    false, found, _ = roc_curve(*labelled(normal, anomalous), drop_intermediate=False)
    curve: Values = np.interp(GRID, false, found)
    return curve


def precision_recall_on_grid(normal: Values, anomalous: Values) -> Values:
    """Share of anomalies among what is called anomalous where a share ``GRID`` of them is found."""
    found = np.maximum(np.ceil(GRID * len(anomalous) - 1e-9), 1).astype(int)
    line = np.sort(anomalous)[::-1][found - 1]
    false = len(normal) - np.searchsorted(np.sort(normal), line, side="left")
    curve: Values = found / (found + false)
    return curve


def overkill(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Share of normals called anomalous where none of these anomalies escapes, in [0, 1]."""
    return float((np.asarray(normal) >= np.min(anomalous)).mean())


def labelled(
    normal: npt.ArrayLike, anomalous: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Label and score of all images, normals first."""
    scores = [np.asarray(normal), np.asarray(anomalous)]
    return np.repeat([0, 1], [len(part) for part in scores]), np.concatenate(scores)
