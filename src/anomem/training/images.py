"""The images of a training, chosen by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.training.batches import ImageSet, Steps
from anomem.training.draws import evenly


@dataclass(frozen=True)
class Chosen:
    """Some images of a set, by index."""

    images: ImageSet
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @staticmethod
    def of(images: ImageSet) -> Chosen:
        """All images of a set, to choose from."""
        return Chosen(images, torch.arange(len(images)))

    def take(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) of indices into the chosen ones."""
        return self.images.take(self.indices[indices])

    def all(self) -> Tensor:
        """All of them, (N, C, H, W)."""
        return self.take(torch.arange(len(self)))

    def spread(self, most: int) -> Chosen:
        """At most so many of them, evenly spaced."""
        if len(self) <= most:
            return self
        return Chosen(self.images, self.indices[evenly(len(self), most)])


@dataclass(frozen=True)
class Identities:
    """By what N images are known.

    Attributes:
        names: As they are called.
        digest: (N,) int64, of their pixels.
        shown: (N,) int64, number of what each shows, the same for copies and near copies.
        group: (N,) int64, number of the group of each: its lot, subject or video.
    """

    names: Sequence[str]
    digest: Tensor
    shown: Tensor
    group: Tensor

    @staticmethod
    def by_pixels(names: Sequence[str], digest: Tensor) -> Identities:
        """Images known by their pixels alone."""
        return Identities(names, digest, digest, digest)

    @staticmethod
    def numbered(count: int) -> Identities:
        """Images known by their number, each a group of its own."""
        number = torch.arange(count)
        return Identities.by_pixels([f"image {index}" for index in range(count)], number)

    def at(self, indices: Tensor) -> Identities:
        """Those of some indices."""
        names = [self.names[index] for index in indices.tolist()]
        rest = (each[indices] for each in (self.digest, self.shown, self.group))
        return Identities(names, *rest)

    def where(self, which: npt.NDArray[np.bool_]) -> Identities:
        """Those of a mask."""
        return self.at(torch.from_numpy(np.flatnonzero(which)))


@dataclass(frozen=True)
class TrainingImages:
    """The images of a fit, as frames.

    Attributes:
        normals: To train on; where they are streamed, a sample of them.
        normals_digest: (M,) int64, of the images of these.
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
    held_out: Chosen
    held_out_image: Tensor
    held_out_known: Identities
    anomalies: Chosen
    anomaly_pixels: Tensor | None = None
    stream: Steps | None = None

    @property
    def trained_on(self) -> Chosen | Steps:
        """The normals of stage 1."""
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
            Chosen(frames, held_out),
            number,
            known.at(kept),
            Chosen(frames, anomalies),
        )
