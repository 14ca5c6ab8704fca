"""By what images are known: their pixels, what they show, the group they are of."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.detector.hold_out import FEWEST_NORMALS
from anomem.images.arrays import ArraySource, DatasetSource, ListSource
from anomem.images.framing import Framing
from anomem.images.image_set import Chosen, ImageSet, batches
from anomem.images.layers import Pixels
from anomem.images.local import FileSource
from anomem.images.near_copies import near_copies
from anomem.images.prepare import PreparedFrames, prepare_frames
from anomem.images.source import ImageSource
from anomem.runtime.progress import Progress


@dataclass(frozen=True)
class Identities:
    """Holds by what N images are known.

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
        """Know images by their pixels alone."""
        return Identities(names, digest, digest, digest)

    @staticmethod
    def numbered(count: int) -> Identities:
        """Know images by their number, each as a group of its own."""
        number = torch.arange(count)
        return Identities.by_pixels([f"image {index}" for index in range(count)], number)

    def at(self, indices: Tensor) -> Identities:
        """Choose those of some indices."""
        names = [self.names[index] for index in indices.tolist()]
        rest = (each[indices] for each in (self.digest, self.shown, self.group))
        return Identities(names, *rest)

    def where(self, which: npt.NDArray[np.bool_]) -> Identities:
        """Choose those of a mask."""
        return self.at(torch.from_numpy(np.flatnonzero(which)))


def full_digests(source: ImageSource, framing: Framing, measured: Tensor) -> Tensor:
    """Digest all pixels of each image, (N,) int64; a file and an array of its pixels have the same.

    Args:
        source: N images.
        framing: How they become frames.
        measured: (N,) int64, digest of each as it is measured; where that is all pixels, it is the
            one, and nothing is read again.
    """
    in_memory = isinstance(source, ArraySource | ListSource | DatasetSource)
    if in_memory or not (framing.whole and framing.reduced):
        return measured
    images = prepare_frames(source, replace(framing, reduced=False))
    return image_digests(images.frames, images.image)


def measured_digests(
    source: ImageSource,
    framing: Framing,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Digest each image as it is measured, (N,) int64; held-out images are known again by it.

    Args:
        source: N images.
        framing: How they become frames.
        progress: Called with the images read and in all.
    """
    images = prepare_frames(source, framing, progress=progress)
    return image_digests(images.frames, images.image)


def known_file(name: str, framing: Framing, known: Tensor) -> Pixels | None:
    """Read a file by the name that a model has of it.

    What a model calls its images is not trusted: no address is opened, and no file is read that is
    not one of the images by its pixels.

    Args:
        name: Of a file of this machine.
        framing: How the model measures images.
        known: Digests of the images that it may be.

    Returns:
        None where it is not there any more, is another, or cannot be read.
    """
    with suppress(OSError, ValueError):
        if Path(name).is_file():
            source = FileSource([Path(name)])
            if torch.isin(measured_digests(source, framing), known).all():
                return source[0]
    return None


def image_digests(frames: ImageSet, image: Tensor) -> Tensor:
    """Digest each of N images, (N,) int64: the sum of the digests of its frames.

    Args:
        frames: F of them, at least one.
        image: (F,) int64, number of the image of each, 0 to N - 1.
    """
    return sums_by_image(frame_digests(frames), image, int(image.max()) + 1)


def identities(
    names: Sequence[str], frames: PreparedFrames, groups: Sequence[str] | None = None
) -> Identities:
    """Find by what images are known; copies and near copies are one group where none are given.

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
    """Digest each frame of a set, at least one, (F,) int64."""
    return torch.cat([digests(batch) for _, batch in batches(frames)])


def content_digest(frames: ImageSet) -> str:
    """Digest all pixels of a set of at least one frame, 32 hexadecimal digits."""
    return hashlib.blake2b(frame_digests(frames).numpy().tobytes(), digest_size=16).hexdigest()


def digests(images: Tensor) -> Tensor:
    """Digest the pixels of each image (B, C, H, W) with 63 bits, (B,) int64.

    Taken at 16 bits, so that it is the same beside images of either depth.
    """
    if images.dtype == torch.uint8:
        images = images.to(torch.int32).mul_(257).to(torch.uint16)
    return torch.tensor(
        [
            int.from_bytes(hashlib.blake2b(image.numpy().tobytes(), digest_size=8).digest(), "big")
            >> 1
            for image in images.contiguous().cpu()
        ],
        dtype=torch.int64,
    )


def sums_by_image(digest: Tensor, image: Tensor, count: int) -> Tensor:
    """Sum the digests of the frames of each of so many images, (count,) int64.

    Args:
        digest: (F,) int64, of the frames.
        image: (F,) int64, number of the image of each.
        count: Of the images.
    """
    total = torch.zeros(count, dtype=torch.int64)
    total.index_add_(0, image, digest)
    return total & torch.iinfo(torch.int64).max


_FEW = 0.01
"""Share of near copies of which no more is said: they move the rate of false alarms by less."""


def refuse_two_labels(normal: Identities, anomalous: Identities) -> None:
    """See that no image is given as normal and, the same pixels again, as anomalous.

    Raises:
        ValueError: One is.
    """
    _, one, other = np.intersect1d(normal.digest, anomalous.digest, return_indices=True)
    if len(one):
        raise ValueError(
            f"{normal.names[one[0]]} is among the normals and, with the same pixels, "
            f"{anomalous.names[other[0]]} among the anomalies; leave out one of them."
        )


def tell_copies(known: Identities, normals: npt.NDArray[np.int64]) -> None:
    """Tell of normals that are copies of others, to the pixel or nearly.

    Args:
        known: By what the images are known.
        normals: Indices of the normals among them.

    Raises:
        ValueError: There are too few different ones.

    Warns:
        UserWarning: Some have the same pixels, or more than 1% are near copies.
    """
    count = len(normals)
    copies, example = _again(known, normals, known.digest, "is one of")
    if count - copies < FEWEST_NORMALS:
        raise ValueError(
            f"only {count - copies} of {count} normals are different ({example}); give at least "
            f"{FEWEST_NORMALS} that are."
        )
    together = (
        "an image and its copies are trained on or held out together, and count as one in the rate "
        "of false alarms"
    )
    if copies:
        text = f"{copies} of {count} normals are copies of others ({example}): {together}."
        warnings.warn(text, stacklevel=5)
    # Near copies of a copy are told once.
    _, first = np.unique(known.digest.numpy()[normals], return_index=True)
    near, example = _again(known, normals[np.sort(first)], known.shown, "shows the same as")
    if near > _FEW * count:
        text = (
            f"{near} of {count} normals are near copies of others, re-saved, shifted by a pixel, "
            f"brighter or taken twice ({example}): {together}; keep one of each, or give groups if "
            "more images belong together."
        )
        warnings.warn(text, stacklevel=5)


def _again(
    known: Identities, normals: npt.NDArray[np.int64], number: Tensor, word: str
) -> tuple[int, str]:
    """How many normals have the number of an earlier one, and a sentence about the first."""
    _, first, which = np.unique(number.numpy()[normals], return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(normals)))
    if not len(again):
        return 0, ""
    one, other = normals[again[0]], normals[first[which[again[0]]]]
    return len(again), f"{known.names[one]} {word} {known.names[other]}"
