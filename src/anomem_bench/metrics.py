"""Metrics of the protocols: of images out of distribution, and of presentation attacks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from anomem.evaluation.metrics import auroc, average_precision, detection_metrics, labelled


def ood_metrics(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> dict[str, float]:
    """Measure as the out-of-distribution literature does; normals are in distribution.

    Args:
        normal: Scores of normal images, at least one.
        anomalous: Scores of images out of distribution, at least one.

    Returns:
        ``auroc``; ``aupr_out`` and ``aupr_in``, the average precision with the images out of, and
        in, distribution as the positives; ``fpr95``, the share of images out of distribution that
        pass where 95% of the normals pass. All in [0, 1].
    """
    # Upside down, the images in distribution are the positives, and score higher.
    inside = detection_metrics(-np.asarray(anomalous), -np.asarray(normal), threshold=0.0)
    return {
        "auroc": auroc(normal, anomalous),
        "aupr_out": average_precision(normal, anomalous),
        "aupr_in": inside["average_precision"],
        "fpr95": inside["fpr_at_95_tpr"],
    }


def attack_metrics(
    bona_fide: npt.ArrayLike, attacks: Mapping[str, npt.ArrayLike], threshold: float
) -> dict[str, float]:
    """Measure the error rates of detecting presentation attacks (ISO/IEC 30107-3).

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
    """Find where as large a share of normals is called anomalous as of anomalies normal, 0 to 1."""
    false, true, _ = roc_curve(*labelled(normal, anomalous), drop_intermediate=False)
    nearest = np.argmin(np.abs(false - (1 - true)))
    return float((false[nearest] + 1 - true[nearest]) / 2)
