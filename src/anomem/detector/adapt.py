"""What labels change: a scorer trained on them, and held-out normals that are set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.decision.scores import highest_frames
from anomem.detector.detector import Detector, standing
from anomem.detector.feature_bank import (
    FeatureBank,
    LabelledFeatures,
    LabelledImages,
)
from anomem.detector.identity import full_digests, image_digests, measured_digests
from anomem.detector.origins import Origin, frames_of
from anomem.detector.score import score_features
from anomem.detector.train_scorer import train_scorer
from anomem.images.framing import Framing, framed_mask
from anomem.images.image_set import Chosen, ImageSet
from anomem.images.masks import MaskLike, mask_of
from anomem.images.prepare import prepare_frames
from anomem.images.source import ImageSource
from anomem.model.features import extract_set
from anomem.model.network import MultiScaleMemory
from anomem.model.recall import allowing, no_places
from anomem.runtime.progress import StageProgress, stage

_LABELS = "0 is normal, 1 anomalous, and -1 takes an earlier label back"


def adapt(
    detector: Detector,
    source: ImageSource,
    label: npt.NDArray[np.int64],
    masks: Sequence[MaskLike | None] | None = None,
    *,
    progress: StageProgress | None = None,
) -> Detector:
    """Train the scorer again, on labelled images and all that were labelled before.

    Args:
        detector: Left as it is.
        source: N images.
        label: (N,): 0 normal, 1 anomalous, -1 to take an earlier label back.
        masks: Where each of the images is anomalous, see :meth:`AnoMem.adapt`; None for no masks.
        progress: Called as ``progress(stage, done, total)``.

    Raises:
        ValueError: Unreadable images, masks or labels that cannot be meant, or no held-out normal
            of a kind would be left.
    """
    if masks is not None:
        check_masks(detector.network, label, masks)
    given = labelled_images(detector, source, label, masks, progress=progress)
    odd = detector.bank.held_out_digest[detector.bank.held_out_odd]
    own = frames_of(detector.origins, torch.cat([given.digest, odd]))
    network = allowing(detector.network, no_places(detector.network), own)
    newer = LabelledFeatures.of(network, given, detector.usual)
    bank = detector.bank.with_labels(detector.bank.labelled.updated(newer))
    bank.check_deciding()
    return with_bank(detector, bank)


def forget(
    detector: Detector, source: ImageSource, *, progress: StageProgress | None = None
) -> Detector:
    """Take back the labels of images, or that they are set aside; others are passed by."""
    bank, framing = detector.bank, detector.framing
    digest = measured_digests(source, framing, progress=stage(progress, "reading"))
    bank = replace(
        bank,
        labelled=bank.labelled.without(full_digests(source, framing, digest)),
        held_out_aside=bank.held_out_aside & ~torch.isin(bank.held_out_digest, digest),
    )
    return with_bank(detector, bank)


def set_aside(
    detector: Detector, source: ImageSource, *, progress: StageProgress | None = None
) -> Detector:
    """Leave held-out normals out of what decisions rest on; the scorer stays as it is.

    Raises:
        ValueError: Unreadable images, one that was not held out, or none would be left.
    """
    bank = detector.bank
    digest = measured_digests(source, detector.framing, progress=stage(progress, "reading"))
    unknown = torch.nonzero(~torch.isin(digest, bank.held_out_digest)).flatten()
    if len(unknown):
        raise ValueError(
            f"{source.names[int(unknown[0])]} is none of the held-out normals, on which "
            "decisions rest; give one of those."
        )
    aside = bank.held_out_aside | torch.isin(bank.held_out_digest, digest)
    bank = replace(bank, held_out_aside=aside)
    bank.check_deciding()
    network = recalling(detector.network, detector.origins, bank)
    told = detector.summary | standing(bank)
    return replace(detector, network=network, bank=bank, summary=told)


def with_bank(detector: Detector, bank: FeatureBank) -> Detector:
    """Give a detector on another bank: its scorer is trained anew.

    The network stays, but that memories of places recall those of the labelled normals, and none
    of images that were labelled anomalous or set aside since.
    """
    network = recalling(detector.network, detector.origins, bank)
    scorer = train_scorer(bank, network.pooled_widths, detector.config, detector.seed)
    told = detector.summary | standing(bank)
    return replace(detector, network=network, bank=bank, scorer=scorer, summary=told)


def recalling(
    network: MultiScaleMemory, origins: Sequence[Origin], bank: FeatureBank
) -> MultiScaleMemory:
    """Give a network whose memories of places recall what a bank has them recall."""
    return allowing(network, bank.labelled.places, frames_of(origins, bank.dismissed()))


def labelled_images(
    detector: Detector,
    source: ImageSource,
    label: npt.NDArray[np.int64],
    masks: Sequence[MaskLike | None] | None = None,
    *,
    progress: StageProgress | None = None,
) -> LabelledImages:
    """Read images with their labels, each by the frame that scores highest: where it shows.

    Where there is a mask, it is the highest of the frames that the mask touches.

    Raises:
        ValueError: Unreadable images, one image with two labels, a label taken back that was never
            given, or a mask that is not of the size of its image.
    """
    images = prepare_frames(source, detector.framing, progress=stage(progress, "reading"))
    digest = image_digests(images.frames, images.image)
    pixels = full_digests(source, detector.framing, digest)
    inside = None if masks is None else _inside(source, masks, detector.framing, images.image)
    frames: ImageSet = images.frames
    if len(frames) > images.count:
        features = extract_set(detector.network, frames, usual=detector.usual)
        scores = score_features(detector.scorer, features)
        if inside is not None:
            scores = scores.where(inside.any(dim=(1, 2)), -torch.inf)
        highest = torch.from_numpy(highest_frames(scores, images.image))
        frames = Chosen(frames, highest)
        inside = None if inside is None else inside[highest]
    given = LabelledImages(
        frames, torch.from_numpy(label), digest, pixels, images.frames, images.image, inside
    )
    _refuse_conflicts(given, source.names, detector.bank.labelled)
    return given


def check_masks(
    network: MultiScaleMemory, label: npt.NDArray[np.int64], masks: Sequence[MaskLike | None]
) -> None:
    """See that a network can learn from masks, and that they are of anomalies.

    Raises:
        ValueError: Its prototypes are learnt, or there is not one mask or None an image, or one of
            an image that is not labelled anomalous.
    """
    if not network.of_places:
        raise ValueError(
            "masks teach memories of places, as of the preset pretrained, and this model has none; "
            "leave the masks out."
        )
    if len(masks) != len(label):
        raise ValueError(
            f"there are {len(masks)} masks for {len(label)} images; give one an image, and None "
            "where there is none."
        )
    for index, (mask, given) in enumerate(zip(masks, label.tolist(), strict=True)):
        if mask is not None and given != 1:
            raise ValueError(
                f"image {index} is labelled {given} and has a mask; give masks of anomalies alone."
            )


def _inside(
    source: ImageSource, masks: Sequence[MaskLike | None], framing: Framing, image: Tensor
) -> Tensor:
    """Where the anomaly of each frame may be, (F, H, W) bool; everywhere where none is marked."""
    inside = torch.ones(len(image), framing.shape.height, framing.shape.width, dtype=torch.bool)
    for index, mask in enumerate(masks):
        if mask is not None:
            framed = framed_mask(mask_of(mask, source[index].shape[:2]), framing)
            if framed.any():
                inside[image == index] = torch.from_numpy(framed)
    return inside


def _refuse_conflicts(given: LabelledImages, names: Sequence[str], known: LabelledFeatures) -> None:
    """See that the labels of a call can be meant, beside those that are known."""
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
