"""Images to measures to scores, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.detector.detector import Detector
from anomem.detector.identity import digests, sums_by_image
from anomem.images.prepare import read_all
from anomem.images.source import ImageSource
from anomem.model.features import Features, extract
from anomem.model.scorer import Scorer
from anomem.runtime.progress import Progress


@dataclass(frozen=True)
class Scores:
    """Holds the scores of the images that could be read, and why the others could not.

    Attributes:
        score: (N,) float32, NaN where the image could not be read.
        scale_scores: (N, S) float32, one-class score of each scale, of the frame with the score.
        errors: For each index that could not be read, the sentence that says why.
    """

    score: npt.NDArray[np.float32]
    scale_scores: npt.NDArray[np.float32]
    errors: dict[int, str]


@torch.inference_mode()
def score_features(scorer: Scorer, features: Features) -> Tensor:
    """Score (N,) float32 of measured images: of each the same beside any others.

    How a product of matrices is rounded depends on its shape; in double precision, rounded to
    single at the end, none of it is left.
    """
    exact: Tensor = copy.deepcopy(scorer).double()(features.double())
    return exact.float()


def highest_frames(scores: Tensor, image: Tensor) -> Tensor:
    """Find the frame of each image that scores highest.

    Args:
        scores: (F,).
        image: (F,) number of the image of each frame.

    Returns:
        Indices of frames (N,), in the order of the numbers.
    """
    order = np.lexsort((-scores.numpy(), image.numpy()))
    _, first = np.unique(image.numpy()[order], return_index=True)
    return torch.from_numpy(order[first])


@dataclass(frozen=True)
class FeaturesPart:
    """Holds some images of a source, measured.

    Attributes:
        images: Their indices in the source.
        features: F frames; None where no image could be read.
        image: (F,) int64, index in the source of the image of each frame.
        errors: For each index that could not be read, the sentence that says why.
        digest: Digest of the pixels of each image, in their order; None where not asked for.
    """

    images: range
    features: Features | None
    image: Tensor
    errors: dict[int, str]
    digest: Tensor | None


def extract_source(
    detector: Detector,
    source: ImageSource,
    progress: Progress | None = None,
    *,
    digested: bool = False,
) -> Iterator[FeaturesPart]:
    """Read all images of a source and extract their features, a batch in memory at a time.

    Args:
        detector: Gives the framing and the network.
        source: The images.
        progress: Called with the images measured and in all.
        digested: Whether digests of their pixels are wanted too.
    """
    for part, batch in read_all(source, detector.framing):
        errors = {index: str(error) for index, error in batch.errors.items()}
        features = extract(detector.network, batch.images) if len(batch.images) else None
        digest = None
        if digested:
            digest = sums_by_image(digests(batch.images), batch.image - part.start, len(part))
        yield FeaturesPart(part, features, batch.image, errors, digest)
        if progress:
            progress(part.stop, len(source))


def score_source(
    detector: Detector, source: ImageSource, progress: Progress | None = None
) -> Iterator[tuple[range, Scores]]:
    """Read and score all images of a source, a batch in memory at a time.

    The score of an image is the highest of its frames; one that is not finite is an error.

    Yields:
        Indices of a batch, and its scores; errors are numbered from its first image.
    """
    for part in extract_source(detector, source, progress):
        yield part.images, score_part(detector.scorer, part, source.names)


def score_part(scorer: Scorer, part: FeaturesPart, names: Sequence[str]) -> Scores:
    """Score a batch; errors are numbered from its first image.

    Args:
        scorer: In evaluation mode.
        part: The batch.
        names: Of all images of its source.
    """
    first, count = part.images.start, len(part.images)
    scale_scores = torch.full((count, len(scorer.lambdas)), torch.nan)
    score = torch.full((count,), torch.nan)
    errors = {index - first: why for index, why in part.errors.items()}
    if part.features is not None:
        scores = score_features(scorer, part.features)
        highest = highest_frames(scores, part.image)
        score[part.image[highest] - first] = scores[highest]
        scale_scores[part.image[highest] - first] = part.features.scores[highest]
        finite = scores.isfinite() & part.features.scores.isfinite().all(dim=1)
        for index in (part.image[~finite].unique() - first).tolist():
            score[index], scale_scores[index] = torch.nan, torch.nan
            errors[index] = (
                f"{names[first + index]}: the score is not finite; "
                "the model is damaged, fit it again."
            )
    return Scores(score.numpy(), scale_scores.numpy(), errors)


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
