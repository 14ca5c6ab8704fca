"""The training images that look least normal: where unlabelled anomalies would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anomem.images.source import ImageSource

if TYPE_CHECKING:
    from anomem.detector.estimator import AnoMem
    from anomem.runtime.progress import StageProgress

_LISTED = 10


def least_normal(
    model: AnoMem, source: ImageSource, *, progress: StageProgress | None = None
) -> list[tuple[str, float]]:
    """Name and score of the ten images with the highest scores, highest first.

    Args:
        model: A fitted detector.
        source: Images it was trained on.
        progress: Called as ``progress(stage, done, total)``.
    """
    scores = model.score_images(source, progress=progress).score
    readable = np.flatnonzero(~np.isnan(scores))
    highest = readable[np.argsort(-scores[readable], kind="stable")[:_LISTED]]
    return [(source.names[i], round(float(scores[i]), 3)) for i in highest]
