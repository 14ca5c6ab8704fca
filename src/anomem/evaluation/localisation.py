"""How well heat maps show where the anomaly is, against masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import label as connected_regions
from sklearn.metrics import precision_recall_curve, roc_auc_score

from anomem.decision.scores import Heat
from anomem.images.masks import mask_of

LONGEST = 256
"""Pixels of the longer side at which maps are measured."""
_MOST_FALSE = 0.3
_NEIGHBOURS = np.ones((3, 3), dtype=bool)
"""Of a pixel in its region: those at its corners too."""

Map = npt.NDArray[Any]


@dataclass(frozen=True)
class Localisation:
    """Holds metrics of heat maps against masks, each a dictionary of :func:`pixel_metrics`.

    Attributes:
        maps: Of all images, the normal ones first, at no more than 256 pixels a side.
        all: Over all images.
        mean_map: Of a map that does not look at the image: the mean one of the normals.
        by_kind: Over the normals and the anomalies of each sub-folder; empty where there is none.
    """

    maps: list[Heat]
    all: dict[str, float]
    mean_map: dict[str, float]
    by_kind: dict[str, dict[str, float]]

    @property
    def by_name(self) -> dict[str, dict[str, float]]:
        """Give all metrics, by the name of what they are of."""
        return {"heat maps": self.all, "mean map": self.mean_map, **self.by_kind}


def localise(
    heats: Iterable[Heat],
    normals: int,
    anomalous: Sequence[Path],
    folder: Path,
    masks: Sequence[Path],
) -> Localisation:
    """Measure heat maps at no more than 256 pixels a side.

    Args:
        heats: Heat map H x W of each normal image and then of each anomalous one.
        normals: Number of normal images, at least one.
        anomalous: Anomalous images below ``folder``.
        folder: Of the anomalous images; its sub-folders are their kinds, and images directly in it
            are of no kind.
        masks: Mask of each anomalous image.

    Raises:
        ValueError: A mask is not of the size of its image.
    """
    maps, truths = [], []
    for index, heat in enumerate(heats):
        truth = np.zeros(heat.shape, dtype=bool)
        if index >= normals:
            truth = mask_of(masks[index - normals], heat.shape)
        size = [max(round(side * min(LONGEST / max(heat.shape), 1)), 1) for side in heat.shape]
        maps.append(_resized(heat, size))
        truths.append(_resized(truth.astype(np.float32), size) > 0.5)
    mean = np.mean([_resized(heat, (LONGEST, LONGEST)) for heat in maps[:normals]], axis=0)
    kinds: dict[str, list[int]] = {}
    for number, image in enumerate(anomalous, start=normals):
        if image.parent != folder:
            kinds.setdefault(image.relative_to(folder).parts[0], [*range(normals)]).append(number)
    return Localisation(
        maps,
        pixel_metrics(maps, truths),
        pixel_metrics([_resized(mean, heat.shape) for heat in maps], truths),
        {
            kind: pixel_metrics([maps[i] for i in chosen], [truths[i] for i in chosen])
            for kind, chosen in sorted(kinds.items())
        },
    )


def pixel_metrics(maps: Sequence[Map], masks: Sequence[Map]) -> dict[str, float]:
    """Measure heat maps over all pixels of all images; anomalous pixels are the positives.

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
    weights = []
    for mask in masks:
        regions, _ = connected_regions(mask, _NEIGHBOURS)
        weights.append((1 / np.bincount(regions.ravel())[regions]).ravel())
    weight = np.where(anomalous, np.concatenate(weights), 1.0)
    area = roc_auc_score(anomalous, heat, sample_weight=weight, max_fpr=_MOST_FALSE)
    # scikit-learn brings the area of a map that guesses to 1/2 (McClish, 1989); here it stays.
    guessed = _MOST_FALSE / 2
    return float((2 * area - 1) * (1 - guessed) + guessed)


def _resized(values: Map, size: Sequence[int]) -> Heat:
    """A map H x W at another height and width; where it shrinks, each value is a weighted mean."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
