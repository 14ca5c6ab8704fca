"""The images of a training, chosen by index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from anomem.config import Config
from anomem.detector.hold_out import check_enough, hold_out
from anomem.detector.identity import Identities, tell_copies
from anomem.detector.origins import Origin, origins_of
from anomem.images.image_set import Chosen, ImageSet, evenly
from anomem.images.prepare import PreparedFrames
from anomem.training.batches import Steps

MOST_IN_TURN = 500
"""Normals that are held out in turn, so that a model stays small; where the share to hold out is
more, that share is held out."""
_MOST_FRAMES_IN_TURN = 4000


@dataclass(frozen=True)
class TrainingImages:
    """Holds the images of a fit, as frames.

    Memories of places are made of all normals, of which up to 500 are held out in turn: each is
    measured by memories that were made without its group. So decisions rest on many normals, and
    none is lost to the memories.

    Attributes:
        normals: To train on; where they are streamed, a sample of them.
        normals_digest: (M,) int64, of the images of these.
        normals_origin: Of which image each of these frames is.
        held_out: Normals that take part in nothing but the threshold, unless they are held out in
            turn; then they are some of ``normals``.
        held_out_image: (F,) int64, number of the held-out image of each such frame.
        held_out_known: By what these images are known.
        anomalies: Labelled ones to train on.
        anomaly_pixels: (A,) int64, digests of all their pixels, where those of their frames are not
            the same.
        stream: All normals to train on where they do not fit into memory.
        apart: Where normals are held out in turn, (M,) and (F,) int64: number of what each frame of
            ``normals`` and of ``held_out`` is kept apart with, its group and groups that hold a
            copy of one of its images.
        split: The frames by a split that does not overlap: those to learn from, and unseen ones.
    """

    normals: Chosen
    normals_digest: Tensor
    normals_origin: Sequence[Origin]
    held_out: Chosen
    held_out_image: Tensor
    held_out_known: Identities
    anomalies: Chosen
    anomaly_pixels: Tensor | None = None
    stream: Steps | None = None
    apart: tuple[Tensor, Tensor] | None = None
    split: tuple[Chosen, Chosen] | None = None

    @property
    def trained_on(self) -> Chosen | Steps:
        """Give the normals of stage 1."""
        return self.normals if self.stream is None else self.stream

    @property
    def for_heat(self) -> tuple[Chosen, Chosen]:
        """Give normals to learn from and others that are unseen, also where each is in turn."""
        return self.split or (self.normals, self.held_out)

    @staticmethod
    def of(
        frames: ImageSet,
        image: Tensor,
        label: npt.NDArray[np.int64],
        split: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        known: Identities,
    ) -> TrainingImages:
        """Choose by label, and by a split of the normals.

        Args:
            frames: F frames of N images.
            image: (F,) int64, index of the image of each.
            label: (N,).
            split: Indices of the normals to train on, and of those to hold out.
            known: By what the images are known.
        """
        of_part = [torch.from_numpy(part) for part in (*split, np.flatnonzero(label == 1))]
        train, held_out, anomalies = (
            torch.nonzero(torch.isin(image, part)).flatten() for part in of_part
        )
        kept, number = image[held_out].unique(return_inverse=True)
        return TrainingImages(
            Chosen(frames, train),
            known.digest[of_part[0]],
            origins_of(known, image[train]),
            Chosen(frames, held_out),
            number,
            known.at(kept),
            Chosen(frames, anomalies),
        )


def training_images(
    prepared: PreparedFrames,
    label: npt.NDArray[np.int64],
    known: Identities,
    config: Config,
    seed: int,
) -> TrainingImages:
    """Choose what is trained on and what is held out.

    Args:
        prepared: Frames of N images.
        label: (N,) 0 normal, 1 anomalous, -1 takes no part.
        known: By what the images are known.
        config: How many normals are held out; with memories of places up to 500 in turn, fewer
            where they have more than 4,000 frames.
        seed: Of the draw.

    Raises:
        ValueError: There are too few different normals, or all are of one group.

    Warns:
        UserWarning: Some are copies or near copies of others.
    """
    frames, image = prepared.frames, prepared.image
    normals = np.flatnonzero(label == 0)
    tell_copies(known, normals)
    split = split_normals(label, known, config.calibration.share, seed)
    images = TrainingImages.of(frames, image, label, split, known)
    if config.memory.prototypes != "places" or len(split[1]) > MOST_IN_TURN:
        return images
    a_frame_each = math.ceil(len(frames) / prepared.count)
    most = min(MOST_IN_TURN, max(_MOST_FRAMES_IN_TURN // a_frame_each, len(split[1])))
    in_turn = normals[evenly(len(normals), most).numpy()]
    chosen = TrainingImages.of(frames, image, label, (normals, in_turn), known)
    together = torch.zeros(prepared.count, dtype=torch.int64)
    together[torch.from_numpy(normals)] = _together(known.where(label == 0))
    if len(together[torch.from_numpy(in_turn)].unique()) < 2:  # copies join all groups
        return images
    of_normals, of_held_out = image[chosen.normals.indices], image[chosen.held_out.indices]
    apart = together[of_normals], together[of_held_out]
    return replace(chosen, apart=apart, split=(images.normals, images.held_out))


def _together(known: Identities) -> Tensor:
    """Number of what each image belongs together with, by its group and by what it shows."""
    _, group = np.unique(known.group.numpy(), return_inverse=True)
    _, shown = np.unique(known.shown.numpy(), return_inverse=True)
    # A graph of groups and of what is shown, that each image links.
    count = len(known.names)
    links = coo_array((np.ones(count), (group, count + shown)), (2 * count, 2 * count))
    _, number = connected_components(links, directed=False)
    return torch.from_numpy(number[group].astype(np.int64))


def check_normals(label: npt.NDArray[np.int64], groups: Sequence[str] | None) -> None:
    """See that there are enough normals and groups before any image is read.

    Raises:
        ValueError: There are too few normals, all are of one group, or not each image has one.
    """
    normals = np.flatnonzero(label == 0).tolist()
    if groups is None:
        return check_enough(len(normals))
    if len(groups) != len(label):
        raise ValueError(f"there are {len(groups)} groups for {len(label)} images; give one each.")
    check_enough(len(normals), [groups[index] for index in normals])


def split_normals(
    label: npt.NDArray[np.int64], known: Identities, share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the normals into the indices of those to train on and of those to hold out.

    An image and its copies, near ones too, never lie on both sides.

    Args:
        label: (N,) 0 normal, 1 anomalous.
        known: By what the images are known.
        share: Of the normals to hold out.
        seed: Of the draw.

    Raises:
        ValueError: There are too few normals, or all are of one group.
    """
    normals = np.flatnonzero(label == 0)
    group = known.group.numpy()[normals]
    train, held_out = (normals[part] for part in hold_out(len(normals), share, seed, group))
    held_elsewhere = np.isin(known.shown.numpy()[train], known.shown.numpy()[held_out])
    return train[~held_elsewhere], held_out
