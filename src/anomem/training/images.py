"""The images of a training, chosen by index."""

from __future__ import annotations

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
class TrainingImages:
    """The images of a fit, as frames.

    Attributes:
        normals: To train on; where they are streamed, a sample of them.
        held_out: Normals that take part in nothing but the threshold.
        held_out_image: (F,) int64, number of the held-out image of each such frame.
        held_out_group: (N,) int64, number of the group of each held-out image.
        anomalies: Labelled ones to train on.
        anomaly_pixels: (A,) int64, digests of all their pixels, where those of their frames are not
            the same.
        stream: All normals to train on where they do not fit into memory.
    """

    normals: Chosen
    held_out: Chosen
    held_out_image: Tensor
    held_out_group: Tensor
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
        group: npt.NDArray[np.int64] | None = None,
    ) -> TrainingImages:
        """Choose by label, and by a split of the normals counted among themselves.

        Args:
            frames: F frames of N images.
            image: (F,) int64, index of the image of each.
            label: (N,).
            split: Indices of the normals to train on, and of those to hold out.
            group: (N,) number of the group of each image; None where each is its own.
        """
        normals = np.flatnonzero(label == 0)
        train, held_out, anomalies = (
            torch.nonzero(torch.isin(image, torch.from_numpy(part))).flatten()
            for part in (normals[split[0]], normals[split[1]], np.flatnonzero(label == 1))
        )
        kept, number = image[held_out].unique(return_inverse=True)
        return TrainingImages(
            Chosen(frames, train),
            Chosen(frames, held_out),
            number,
            kept if group is None else torch.from_numpy(group)[kept],
            Chosen(frames, anomalies),
        )
