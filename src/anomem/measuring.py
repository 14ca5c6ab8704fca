"""What a model keeps of its images, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.data.framing import Framing
from anomem.data.prepare import PreparedFrames, prepare_frames
from anomem.data.sources import ArraySource, DatasetSource, ImageSource, ListSource
from anomem.holding_out import FEWEST_NORMALS
from anomem.near_copies import near_copies
from anomem.network.deviation import MultiScaleMemory
from anomem.network.heads import Detector
from anomem.network.places import UsualPlaces
from anomem.reserve import MOST_KEPT, Labelled, Reserve, some_digests
from anomem.scoring import (
    batches,
    digests,
    highest_frames,
    measure_set,
    place_maps,
    score_measured,
    sums_by_image,
)
from anomem.training.batches import ImageSet
from anomem.training.images import Chosen, Identities, TrainingImages

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


def fill_reserve(network: MultiScaleMemory, images: TrainingImages) -> Reserve:
    """Measure what the model keeps of the images."""
    normals, anomalies = images.normals.spread(MOST_KEPT), images.anomalies
    known = images.held_out_known
    normal = measure_set(network, normals)
    labelled = Labelled.none(normal)
    if len(anomalies):
        label = torch.ones(len(anomalies), dtype=torch.int64)
        digest, pixels = frame_digests(anomalies), images.anomaly_pixels
        given = LabelledImages(anomalies, label, digest, digest if pixels is None else pixels)
        labelled = labelled.updated(measure_labelled(network, given))
    return Reserve(
        normals=normal,
        held_out=measure_set(network, images.held_out),
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
    network: MultiScaleMemory,
    detector: Detector,
    images: PreparedFrames,
    label: Tensor,
    pixels: Tensor | None,
) -> LabelledImages:
    """Labelled images by the frame of each that scores highest: of an anomaly, where it shows.

    Args:
        network: In evaluation mode.
        detector: Of the scores.
        images: N of them.
        label: (N,).
        pixels: Of :func:`full_digests`.
    """
    digest = image_digests(images.frames, images.image)
    pixels = digest if pixels is None else pixels
    if len(images.frames) == images.count:
        return LabelledImages(images.frames, label, digest, pixels)
    scores = score_measured(detector, measure_set(network, images.frames))
    highest = Chosen(images.frames, highest_frames(scores, images.image))
    return LabelledImages(highest, label, digest, pixels)


def refuse_conflicts(given: LabelledImages, names: Sequence[str], known: Labelled) -> None:
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


def measure_labelled(network: MultiScaleMemory, given: LabelledImages) -> Labelled:
    """Measure labelled images, at least one."""
    measured = measure_set(network, given.images)
    return Labelled(measured, given.label, given.digest, given.pixels)


def full_digests(source: ImageSource, framing: Framing) -> Tensor | None:
    """Digest of all pixels of each image, the same of a file and of an array of its pixels.

    Args:
        source: N images.
        framing: How they become frames.

    Returns:
        (N,) int64; None where what is measured is all pixels, so that its digest is the one.
    """
    in_memory = isinstance(source, ArraySource | ListSource | DatasetSource)
    if in_memory or not (framing.whole and framing.reduced):
        return None
    images = prepare_frames(source, replace(framing, reduced=False))
    return image_digests(images.frames, images.image)


def measured_digests(
    source: ImageSource,
    framing: Framing,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Digest of each image as it is measured, by which held-out images are known again, (N,) int64.

    Args:
        source: N images.
        framing: How they become frames.
        progress: Called with the images read and in all.
    """
    images = prepare_frames(source, framing, progress=progress)
    return image_digests(images.frames, images.image)


def image_digests(frames: ImageSet, image: Tensor) -> Tensor:
    """Digest of each of N images, (N,) int64: the sum of those of its frames.

    Args:
        frames: F of them, at least one.
        image: (F,) int64, number of the image of each, 0 to N - 1.
    """
    return sums_by_image(frame_digests(frames), image, int(image.max()) + 1)


def identities(
    names: Sequence[str], frames: PreparedFrames, groups: Sequence[str] | None = None
) -> Identities:
    """By what images are known; copies and near copies are one group where none are given.

    Args:
        names: Of N images.
        frames: Theirs.
        groups: Part, lot, subject or video of the first of them; the others are anomalies.
    """
    digest = image_digests(frames.frames, frames.image)
    shown = _shown(digest, frames)
    which = shown
    if groups is not None:
        which = np.array([*groups, *[""] * (frames.count - len(groups))])
    # In order of appearance, so that the split of images that differ is one of their numbers.
    _, first, group = np.unique(which, return_index=True, return_inverse=True)
    number = first.argsort().argsort()
    return Identities(names, digest, torch.from_numpy(shown), torch.from_numpy(number[group]))


def _shown(digest: Tensor, frames: PreparedFrames) -> npt.NDArray[np.int64]:
    """Number of what each of N images shows, told by the frame in the middle of each.

    Where too little would be left to split, near copies count as different images.
    """
    _, first, which = np.unique(digest.numpy(), return_index=True, return_inverse=True)
    order = np.argsort(frames.image.numpy(), kind="stable")
    starts = np.searchsorted(frames.image.numpy()[order], np.arange(frames.count + 1))
    middle = order[(starts[:-1] + starts[1:]) // 2]
    shown = near_copies(Chosen(frames.frames, torch.from_numpy(middle[first])))
    few = len(np.unique(shown)) < FEWEST_NORMALS
    return which if few else shown[which]


def frame_digests(frames: ImageSet) -> Tensor:
    """Digest of each frame of a set, at least one, (F,) int64."""
    return torch.cat([digests(batch) for _, batch in batches(frames)])
