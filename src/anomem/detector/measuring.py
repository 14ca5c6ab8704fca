"""What a model keeps of its images, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomem.detector.feature_bank import MOST_KEPT, FeatureBank, LabelledFeatures, some_digests
from anomem.detector.identity import frame_digests, image_digests
from anomem.detector.score import highest_frames, score_features
from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import Chosen, ImageSet, batches
from anomem.images.prepare import PreparedFrames
from anomem.model.features import extract_set
from anomem.model.heat import HeatModel, place_maps
from anomem.model.network import MultiScaleMemory
from anomem.model.scorer import Scorer

_LABELS = "0 is normal, 1 anomalous, and -1 takes an earlier label back"


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels, each by one frame.

    Attributes:
        images: A frame of each of N images.
        label: (N,) int64: 0 normal, 1 anomalous, -1 to be forgotten.
        digest: (N,) int64, of the whole image as it is measured.
        pixels: (N,) int64, of all its pixels, see :func:`full_digests`.
    """

    images: ImageSet
    label: Tensor
    digest: Tensor
    pixels: Tensor


def fill_bank(network: MultiScaleMemory, images: TrainingImages) -> FeatureBank:
    """Measure what the model keeps of the images."""
    normals, anomalies = images.normals.spread(MOST_KEPT), images.anomalies
    known = images.held_out_known
    normal = extract_set(network, normals)
    labelled = LabelledFeatures.none(normal)
    if len(anomalies):
        label = torch.ones(len(anomalies), dtype=torch.int64)
        digest, pixels = frame_digests(anomalies), images.anomaly_pixels
        given = LabelledImages(anomalies, label, digest, digest if pixels is None else pixels)
        labelled = labelled.updated(extract_labelled(network, given))
    return FeatureBank(
        normals=normal,
        held_out=extract_set(network, images.held_out),
        held_out_image=images.held_out_image,
        held_out_digest=known.digest,
        held_out_group=known.group,
        held_out_kind=torch.zeros_like(known.group),
        held_out_aside=torch.zeros(len(known.group), dtype=torch.bool),
        held_out_name=tuple(known.names),
        trained_digest=some_digests(images.normals_digest),
        labelled=labelled,
        learnt_pixels=labelled.pixels.clone(),
    )


def fit_heat(network: MultiScaleMemory, images: TrainingImages, *, anywhere: bool) -> HeatModel:
    """What is usual at each place, from normals trained on and normals held out.

    Args:
        network: In evaluation mode.
        images: Of the fit.
        anywhere: Frames lie anywhere in an image, so that all places are one.
    """
    normals, held_out = (part.spread(MOST_KEPT) for part in (images.normals, images.held_out))
    one = place_maps(network, normals.take(torch.arange(1)))
    places = new_heat(one.features, len(one.odds), anywhere=anywhere)
    places.fit(place_maps(network, batch) for _, batch in batches(normals))
    places.calibrate(place_maps(network, batch) for _, batch in batches(held_out))
    return places


def new_heat(features: Sequence[Tensor], heads: int, *, anywhere: bool) -> HeatModel:
    """What is usual at each place, before normals are seen.

    Args:
        features: Fine feature maps (B, C_s, H_s, W_s), of which the shapes count.
        heads: Number of maps of log-odds.
        anywhere: As of :func:`fit_heat`.
    """
    shapes = (maps.shape[1:] for maps in features)
    return HeatModel([(c, 1, 1) if anywhere else (c, h, w) for c, h, w in shapes], heads)


def one_frame_each(
    network: MultiScaleMemory,
    scorer: Scorer,
    images: PreparedFrames,
    label: Tensor,
    pixels: Tensor | None,
) -> LabelledImages:
    """Labelled images by the frame of each that scores highest: of an anomaly, where it shows.

    Args:
        network: In evaluation mode.
        scorer: Of the scores.
        images: N of them.
        label: (N,).
        pixels: Of :func:`full_digests`.
    """
    digest = image_digests(images.frames, images.image)
    pixels = digest if pixels is None else pixels
    if len(images.frames) == images.count:
        return LabelledImages(images.frames, label, digest, pixels)
    scores = score_features(scorer, extract_set(network, images.frames))
    highest = Chosen(images.frames, highest_frames(scores, images.image))
    return LabelledImages(highest, label, digest, pixels)


def refuse_conflicts(given: LabelledImages, names: Sequence[str], known: LabelledFeatures) -> None:
    """See that the labels of a call can be meant.

    Args:
        given: Images with their labels.
        names: Of these images.
        known: What was labelled before.

    Raises:
        ValueError: One image has two labels, or a label is taken back that was never given.
    """
    label, first = given.label.tolist(), dict[int, int]()
    for index, pixels in enumerate(given.pixels.tolist()):
        other = first.setdefault(pixels, index)
        if label[other] != label[index]:
            raise ValueError(
                f"{names[other]} and {names[index]} are the same image, labelled {label[other]} "
                f"and {label[index]}; give it one label ({_LABELS})."
            )
    never = torch.nonzero((given.label == -1) & ~torch.isin(given.pixels, known.pixels)).flatten()
    if len(never):
        raise ValueError(
            f"{len(never)} of {len(names)} images are labelled -1 and were never labelled, as "
            f"{names[int(never[0])]}; give the labels that are meant ({_LABELS})."
        )


def extract_labelled(network: MultiScaleMemory, given: LabelledImages) -> LabelledFeatures:
    """Measure labelled images, at least one."""
    features = extract_set(network, given.images)
    return LabelledFeatures(features, given.label, given.digest, given.pixels)
