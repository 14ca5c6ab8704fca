"""What a model keeps of its images, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomem.data.prepare import PreparedFrames
from anomem.network.deviation import MultiScaleMemory
from anomem.network.heads import Detector
from anomem.network.places import UsualPlaces
from anomem.reserve import MOST_KEPT, Labelled, Reserve
from anomem.scoring import (
    batches,
    digests,
    highest_frames,
    measure_set,
    place_maps,
    score_measured,
)
from anomem.training.batches import ImageSet
from anomem.training.images import Chosen, TrainingImages


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels, each by one frame.

    Attributes:
        images: A frame of each of N images.
        label: (N,) int64: 0 normal, 1 anomalous, -1 to be forgotten.
        digest: (N,) int64, of the whole image.
    """

    images: ImageSet
    label: Tensor
    digest: Tensor


def fill_reserve(network: MultiScaleMemory, images: TrainingImages) -> Reserve:
    """Measure what the model keeps of the images."""
    normals, anomalies = images.normals.spread(MOST_KEPT), images.anomalies
    normal = measure_set(network, normals)
    labelled = Labelled.none(normal)
    if len(anomalies):
        label = torch.ones(len(anomalies), dtype=torch.int64)
        given = LabelledImages(anomalies, label, frame_digests(anomalies))
        labelled = labelled.updated(measure_labelled(network, given))
    return Reserve(
        normals=normal,
        held_out=measure_set(network, images.held_out),
        held_out_image=images.held_out_image,
        held_out_digest=image_digests(images.held_out, images.held_out_image),
        held_out_group=images.held_out_group,
        held_out_kind=torch.zeros_like(images.held_out_group),
        labelled=labelled,
        learnt=len(anomalies),
    )


def usual_places(
    network: MultiScaleMemory, images: TrainingImages, *, anywhere: bool
) -> UsualPlaces:
    """What is usual at each place, from normals trained on and normals held out.

    Args:
        network: In evaluation mode.
        images: Of the fit.
        anywhere: Frames lie anywhere in an image, so that all places are one.
    """
    normals, held_out = (part.spread(MOST_KEPT) for part in (images.normals, images.held_out))
    one = place_maps(network, normals.take(torch.arange(1)))
    places = new_places(one.features, len(one.odds), anywhere=anywhere)
    places.fit(place_maps(network, batch) for _, batch in batches(normals))
    places.calibrate(place_maps(network, batch) for _, batch in batches(held_out))
    return places


def new_places(features: Sequence[Tensor], heads: int, *, anywhere: bool) -> UsualPlaces:
    """What is usual at each place, before normals are seen.

    Args:
        features: Fine feature maps (B, C_s, H_s, W_s), of which the shapes count.
        heads: Number of maps of log-odds.
        anywhere: As of :func:`usual_places`.
    """
    shapes = (maps.shape[1:] for maps in features)
    return UsualPlaces([(c, 1, 1) if anywhere else (c, h, w) for c, h, w in shapes], heads)


def one_frame_each(
    network: MultiScaleMemory, detector: Detector, images: PreparedFrames, label: Tensor
) -> LabelledImages:
    """Labelled images by the frame of each that scores highest: of an anomaly, where it shows."""
    digest = image_digests(images.frames, images.image)
    if len(images.frames) == images.count:
        return LabelledImages(images.frames, label, digest)
    scores = score_measured(detector, measure_set(network, images.frames))
    return LabelledImages(
        Chosen(images.frames, highest_frames(scores, images.image)), label, digest
    )


def measure_labelled(network: MultiScaleMemory, given: LabelledImages) -> Labelled:
    """Measure labelled images, at least one."""
    return Labelled(measure_set(network, given.images), given.label, given.digest)


def image_digests(frames: ImageSet, image: Tensor) -> Tensor:
    """Digest of each of N images, (N,) int64: the sum of those of its frames.

    Args:
        frames: F of them, at least one.
        image: (F,) int64, number of the image of each, 0 to N - 1.
    """
    total = torch.zeros(int(image.max()) + 1, dtype=torch.int64)
    total.index_add_(0, image, frame_digests(frames))
    return total & torch.iinfo(torch.int64).max


def frame_digests(frames: ImageSet) -> Tensor:
    """Digest of each frame of a set, at least one, (F,) int64."""
    return torch.cat([digests(batch) for _, batch in batches(frames)])
