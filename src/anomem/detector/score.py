"""Images to measures to scores, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anomem.decision.scores import Scores, image_scores
from anomem.detector.detector import Detector
from anomem.detector.identity import digests, sums_by_image
from anomem.images.image_set import tensor_of
from anomem.images.read import read_all
from anomem.images.source import ImageSource
from anomem.model.features import Features, extract
from anomem.model.scorer import Scorer
from anomem.runtime.progress import Progress


@torch.inference_mode()
def score_features(scorer: Scorer, features: Features) -> Tensor:
    """Score (N,) float32 of measured images: of each the same beside any others.

    How a product of matrices is rounded depends on its shape; in double precision, rounded to
    single at the end, none of it is left.
    """
    exact: Tensor = copy.deepcopy(scorer).double()(features.double())
    return exact.float()


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
        frames, image = tensor_of(batch.images), torch.from_numpy(batch.image)
        features = extract(detector.network, frames, usual=detector.usual) if len(frames) else None
        digest = None
        if digested:
            digest = sums_by_image(digests(frames), image - part.start, len(part))
        yield FeaturesPart(part, features, image, errors, digest)
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
    scales = len(scorer.lambdas)
    frames = np.empty(0, np.float32), np.empty((0, scales), np.float32)
    if part.features is not None:
        scores = score_features(scorer, part.features)
        frames = scores.numpy(), part.features.scores.numpy()
    return image_scores(part.images, frames, part.image.numpy(), part.errors, names)
