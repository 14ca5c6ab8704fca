"""How well a detector shows where the anomaly is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage.transform import resize

from anomem.evaluation.pixels import pixel_metrics
from anomem.images.errors import times
from anomem.images.masks import read_mask

LONGEST = 256
"""Pixels of the longer side at which maps are measured."""

Heat = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Localisation:
    """Metrics of heat maps against masks, each a dictionary of ``pixel_metrics``.

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
        folder: Of the anomalous images; its sub-folders are their kinds.
        masks: Mask of each anomalous image.

    Raises:
        ValueError: A mask is not of the size of its image.
    """
    maps, truths = [], []
    for index, heat in enumerate(heats):
        truth = np.zeros(heat.shape, dtype=bool)
        if index >= normals:
            mask = masks[index - normals]
            truth = read_mask(mask)
            if truth.shape != heat.shape:
                raise ValueError(
                    f"{mask} is {times(truth.shape)} and its image {times(heat.shape)}; give a "
                    "mask of the same size."
                )
        maps.append(_shrunk(heat))
        truths.append(_shrunk(truth.astype(np.float32)) > 0.5)
    mean = np.mean([resize(heat, (LONGEST, LONGEST)) for heat in maps[:normals]], axis=0)
    blind = [resize(mean, heat.shape) for heat in maps]
    by_kind = {
        kind: [*range(normals), *(normals + index for index in indices)]
        for kind, indices in _by_kind(anomalous, folder).items()
    }
    return Localisation(
        maps,
        pixel_metrics(maps, truths),
        pixel_metrics(blind, truths),
        {
            kind: pixel_metrics([maps[i] for i in chosen], [truths[i] for i in chosen])
            for kind, chosen in by_kind.items()
        },
    )


def _by_kind(anomalous: Sequence[Path], folder: Path) -> dict[str, list[int]]:
    """Which anomalies lie below each sub-folder; those directly in the folder are of no kind."""
    kinds: dict[str, list[int]] = {}
    for index, image in enumerate(anomalous):
        if image.parent != folder:
            kinds.setdefault(image.relative_to(folder).parts[0], []).append(index)
    return dict(sorted(kinds.items()))


def _shrunk(values: Heat) -> Heat:
    """A map with a longer side of at most 256 pixels."""
    share = LONGEST / max(values.shape)
    if share >= 1:
        return values
    size = [max(round(side * share), 1) for side in values.shape]
    shrunk: Heat = resize(values, size, anti_aliasing=True).astype(np.float32)
    return shrunk
