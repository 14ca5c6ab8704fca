"""The scores of images: that of the frame of each that scores highest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Heat = npt.NDArray[np.float32]
"""How unusual each pixel of an image is, H x W, in standard deviations of normals."""


@dataclass(frozen=True)
class Scores:
    """Holds the scores of the images that could be read, and why the others could not.

    Attributes:
        score: (N,) float32, NaN where the image could not be read.
        scale_scores: (N, S) float32, one-class score of each scale, of the frame with the score.
        errors: For each index that could not be read, the sentence that says why.
    """

    score: Floats
    scale_scores: Floats
    errors: dict[int, str]


def scale_names(scales: int) -> list[str]:
    """Name each scale; "scale_1" is the shallowest."""
    return [f"scale_{number + 1}" for number in range(scales)]


def highest_frames(scores: npt.ArrayLike, image: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Find the frame of each image that scores highest.

    Args:
        scores: (F,).
        image: (F,) number of the image of each frame.

    Returns:
        Indices of frames (N,), in the order of the numbers.
    """
    order = np.lexsort((-np.asarray(scores), np.asarray(image)))
    _, first = np.unique(np.asarray(image)[order], return_index=True)
    return order[first]


def image_scores(
    images: range,
    frames: tuple[Floats, Floats],
    image: npt.NDArray[np.int64],
    errors: Mapping[int, str],
    names: Sequence[str],
) -> Scores:
    """Give the scores of some images of a source, each the highest of its frames.

    One that is not finite is an error.

    Args:
        images: Their indices in the source.
        frames: Score of each frame (F,), and its score of each scale (F, S).
        image: (F,) index in the source of the image of each frame.
        errors: For each index in the source that could not be read, the sentence that says why.
        names: Of all images of the source.

    Returns:
        Of the images; errors are numbered from the first of them.
    """
    score, scale_scores = frames
    first, highest = images.start, highest_frames(score, image)
    found = Scores(
        np.full(len(images), np.nan, np.float32),
        np.full((len(images), scale_scores.shape[1]), np.nan, np.float32),
        {index - first: why for index, why in errors.items()},
    )
    place = image[highest] - first
    found.score[place], found.scale_scores[place] = score[highest], scale_scores[highest]
    finite = np.isfinite(score) & np.isfinite(scale_scores).all(axis=1)
    for index in (np.unique(image[~finite]) - first).tolist():
        found.score[index], found.scale_scores[index] = np.nan, np.nan
        found.errors[index] = (
            f"{names[first + index]}: the score is not finite; the model is damaged, fit it again."
        )
    return found


def joined_scores(parts: Iterable[tuple[range, Scores]]) -> Scores:
    """Join the scores of all batches, at least one."""
    every = list(parts)
    return Scores(
        np.concatenate([scores.score for _, scores in every]),
        np.concatenate([scores.scale_scores for _, scores in every]),
        {
            images.start + index: why
            for images, scores in every
            for index, why in scores.errors.items()
        },
    )
