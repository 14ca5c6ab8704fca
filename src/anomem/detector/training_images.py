"""The images of a training, chosen by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.detector.hold_out import check_enough, hold_out
from anomem.detector.identity import Identities, tell_copies
from anomem.detector.origins import Origin, origins_of
from anomem.images.image_set import Chosen, ImageSet
from anomem.training.batches import Steps


@dataclass(frozen=True)
class TrainingImages:
    """Holds the images of a fit, as frames.

    Attributes:
        normals: To train on; where they are streamed, a sample of them.
        normals_digest: (M,) int64, of the images of these.
        normals_origin: Of which image each of these frames is.
        held_out: Normals that take part in nothing but the threshold.
        held_out_image: (F,) int64, number of the held-out image of each such frame.
        held_out_known: By what these images are known.
        anomalies: Labelled ones to train on.
        anomaly_pixels: (A,) int64, digests of all their pixels, where those of their frames are not
            the same.
        stream: All normals to train on where they do not fit into memory.
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

    @property
    def trained_on(self) -> Chosen | Steps:
        """Give the normals of stage 1."""
        return self.normals if self.stream is None else self.stream

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
        ValueError: There are too few different normals, or all are of one group.

    Warns:
        UserWarning: Some are copies or near copies of others.
    """
    normals = np.flatnonzero(label == 0)
    group = known.group.numpy()[normals]
    tell_copies(known, normals)
    train, held_out = (normals[part] for part in hold_out(len(normals), share, seed, group))
    held_elsewhere = np.isin(known.shown.numpy()[train], known.shown.numpy()[held_out])
    return train[~held_elsewhere], held_out
