"""Which images a person should look at first, and between which numbers anomalies are left."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_UNCERTAIN = 4
"""Uncertain images for each anomalous one (docs/results/labelling.md)."""
_HALF = 0.5


def most_telling_first(score: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.int64]:
    """Order images: the most anomalous one and then the four most uncertain, again and again.

    Args:
        score: (N,) higher is more anomalous.
        threshold: Of the decision; what scores near it is uncertain.

    Returns:
        (N,) indices, each once.
    """
    anomalous = np.argsort(-score, kind="stable")
    uncertain = np.argsort(np.abs(score - threshold), kind="stable")
    rank = np.arange(len(score))
    turn = np.concatenate([rank * (_UNCERTAIN + 1), rank + rank // _UNCERTAIN + 1])
    wanted = np.concatenate([anomalous, uncertain])[np.argsort(turn, kind="stable")]
    _, first = np.unique(wanted, return_index=True)
    order: npt.NDArray[np.int64] = wanted[np.sort(first)]
    return order


def anomalies_among(p_values: npt.NDArray[np.float64], held_out: int) -> tuple[int, int]:
    """Bound from both sides how many of some images are anomalous.

    Normal images have p-values that are spread evenly over (0, 1], so twice as many as there are
    above one half are about all the normals; the rest is anomalous: ``N - 2 #{p > 1/2}`` (Storey,
    Journal of the Royal Statistical Society B 2002, lambda 1/2). Give or take two standard errors:
    of the count, and of the middle of the held-out scores, which moves all p-values together.
    Anomalies that look as normal as the normals do are not counted.

    Args:
        p_values: (N,) of the images.
        held_out: Number of held-out normals that the p-values rest on, at least 1.

    Returns:
        Lowest and highest number, from 0 to N.
    """
    count, above = len(p_values), int((p_values > _HALF).sum())
    normals = above / _HALF
    of_count = above * (1 - above / max(count, 1)) / _HALF**2
    of_middle = normals**2 / held_out
    error = 2 * np.sqrt(of_count + of_middle)
    ends = np.clip([count - normals - error, count - normals + error], 0, count)
    low, high = ends.round().astype(int).tolist()
    return low, high
