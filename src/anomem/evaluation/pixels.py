"""How well heat maps tell anomalous places from normal ones, against masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import label as connected_regions
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

_MOST_FALSE = 0.3

Map = npt.NDArray[Any]


def pixel_metrics(maps: Sequence[Map], masks: Sequence[Map]) -> dict[str, float]:
    """Metrics of heat maps over all pixels of all images; anomalous pixels are the positives.

    Args:
        maps: Heat of each image, H x W, higher being more anomalous.
        masks: Where each image is anomalous, H x W; nowhere for a normal one.

    Returns:
        ``pixel_auroc``; ``aupro``, the area under the mean overlap with the connected regions of
        the masks against the share of normal pixels above the threshold, up to 30% of these and
        divided by it (Bergmann et al., CVPR 2020); ``pixel_f1_max``, the highest F1 of any
        threshold. All in [0, 1].

    Raises:
        ValueError: Maps and masks do not fit together, or pixels of only one kind are there.
    """
    for number, (heat, mask) in enumerate(zip(maps, masks, strict=True)):
        if heat.shape != mask.shape:
            raise ValueError(
                f"heat map {number} is {heat.shape} and its mask {mask.shape}; give both at one "
                "size."
            )
    heat = np.concatenate([np.ravel(each) for each in maps])
    anomalous = np.concatenate([np.ravel(each).astype(bool) for each in masks])
    if anomalous.all() or not anomalous.any():
        raise ValueError("the masks have pixels of one kind; give anomalous and normal ones.")
    precision, recall, _ = precision_recall_curve(anomalous, heat)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {
        "pixel_auroc": float(roc_auc_score(anomalous, heat)),
        "aupro": _aupro(heat, anomalous, masks),
        "pixel_f1_max": float(f1.max()),
    }


def _aupro(heat: Map, anomalous: npt.NDArray[np.bool_], masks: Sequence[Map]) -> float:
    """The area under a ROC curve on which every region weighs the same, however large it is."""
    weight = np.concatenate([_of_regions(mask).ravel() for mask in masks])
    false, overlap, _ = roc_curve(anomalous, heat, sample_weight=np.where(anomalous, weight, 1.0))
    end = float(np.interp(_MOST_FALSE, false, overlap))
    inside = false <= _MOST_FALSE
    x, y = np.append(false[inside], _MOST_FALSE), np.append(overlap[inside], end)
    return float(np.trapezoid(y, x)) / _MOST_FALSE


def _of_regions(mask: Map) -> Map:
    """At each pixel of a region one over its size, 0 elsewhere."""
    regions = connected_regions(np.asarray(mask, dtype=bool))
    sizes = np.bincount(regions.ravel())
    return np.where(regions > 0, 1 / sizes[regions], 0.0)
