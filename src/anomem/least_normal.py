"""The training images that look least normal: where unlabelled anomalies would be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomem.fitting import Chosen
from anomem.network.deviation import MultiScaleMemory
from anomem.network.heads import Detector
from anomem.scoring import measure_set, score_measured

_LISTED = 10
_MOST_MEASURED = 10_000


def least_normal(
    network: MultiScaleMemory, detector: Detector, normals: Chosen, names: Sequence[str]
) -> list[list[str | float]]:
    """Name and score of the ten normals with the highest scores, highest first.

    Of more than 10,000 normals, as many are looked at, evenly spaced.

    Args:
        network: Trained, in evaluation mode.
        detector: Trained.
        normals: Normals of a set of images.
        names: Name of each image of the whole set.
    """
    looked_at = normals.spread(_MOST_MEASURED)
    scores = score_measured(detector, measure_set(network, looked_at)).numpy()
    highest = np.argsort(-scores, kind="stable")[:_LISTED]
    indices = looked_at.indices.numpy()
    return [[names[indices[i]], round(float(scores[i]), 3)] for i in highest]
