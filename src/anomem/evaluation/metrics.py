"""How well scores tell anomalies from normals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve


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
    normal, anomalous = np.asarray(normal), np.asarray(anomalous)
    label = np.repeat([0, 1], [len(normal), len(anomalous)])
    score = np.concatenate([normal, anomalous])
    false_rate, true_rate, _ = roc_curve(label, score, drop_intermediate=False)
    return {
        "auroc": auroc(normal, anomalous),
        "average_precision": float(average_precision_score(label, score)),
        "fpr_at_95_tpr": float(false_rate[np.argmax(true_rate >= 0.95)]),
        "f1": float(f1_score(label, score > threshold)),
    }


def auroc(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """Area under the ROC curve: the chance that an anomaly scores above a normal image."""
    normal, anomalous = np.asarray(normal), np.asarray(anomalous)
    label = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(roc_auc_score(label, np.concatenate([normal, anomalous])))
