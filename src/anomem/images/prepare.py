"""All images to frames of one shape, in memory or in a file, as tensors."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.read import BATCH, Frames, read_all, widened
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource
from anomem.runtime.progress import Progress

_IN_MEMORY = 4 * 2**30
"""Bytes of frames that are kept in memory."""


class PreparedImages:
    """Holds images of one size, in memory or in a temporary file mapped to it.

    Attributes:
        images: N x C x H x W, uint8 or uint16.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Tensor:
        """Give the images of B indices, B x C x H x W, uint8 or uint16."""
        return self.images.index_select(0, indices.to(self.images.device))


@dataclass(frozen=True)
class PreparedFrames:
    """Holds the frames of N images.

    Attributes:
        frames: F of them, N or more.
        image: (F,) int64, index of the image of each, not falling.
        count: N.
    """

    frames: PreparedImages
    image: Tensor
    count: int


def prepare_frames(
    source: ImageSource,
    framing: Framing,
    *,
    progress: Progress | None = None,
) -> PreparedFrames:
    """Read all images, each once, into memory, or into a temporary file beyond 4 GiB of frames.

    Args:
        source: N images.
        framing: How they become frames.
        progress: Called with the number of images read so far and N.

    Raises:
        ImageError: Some images cannot be read; names up to three of them.
        ValueError: The folder of temporary files has no room for them.
    """
    total, shape = len(source), framing.shape
    frames, count = _room(total, shape, np.dtype(np.uint8)), 0
    image = [np.zeros(0, dtype=np.int64)]
    errors: dict[int, ImageError] = {}
    for part, batch in read_all(source, framing):
        errors |= batch.errors
        if not errors:
            needed = count + len(batch.image)
            dtype = batch.images.dtype if frames.dtype == np.uint8 else frames.dtype
            if needed > len(frames) or dtype != frames.dtype:
                # Images are mostly of one size, and so have as many frames as those so far; where
                # the first ones are the largest, no more than twice the room is taken.
                alike = -(-needed * total // part.stop)
                most = max(needed, len(frames), min(alike, 2 * len(frames)))
                known, frames = frames, _room(most, shape, dtype)
                for start in range(0, count, BATCH):
                    stop = min(start + BATCH, count)
                    frames[start:stop] = _as(known[start:stop], dtype)
            frames[count:needed] = _as(batch.images, dtype)
            image.append(batch.image)
            count = needed
        if progress is not None:
            progress(part.stop, total)
    if errors:
        raise _unreadable(list(errors.values()), total)
    found = PreparedImages(torch.from_numpy(frames[:count]))
    return PreparedFrames(found, torch.from_numpy(np.concatenate(image)), total)


def prepare(source: ImageSource, shape: ImageShape) -> PreparedImages:
    """Read all images, each once and as a whole, as :func:`prepare_frames` does."""
    return prepare_frames(source, Framing("resize", shape, reduced=False)).frames


def _room(count: int, shape: ImageShape, dtype: np.dtype[Any]) -> Frames:
    """So many empty frames, in memory or, where they take more than the limit, in a file."""
    size = (count, shape.channels, shape.height, shape.width)
    taken = math.prod(size) * dtype.itemsize
    if taken <= _IN_MEMORY:
        return np.empty(size, dtype)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < taken:
        raise ValueError(
            f"{count} frames take {taken / 2**30:.3g} GiB and {folder} has "
            f"{free / 2**30:.3g} GiB free; name a larger folder in TMPDIR, or make them smaller."
        )
    with tempfile.TemporaryFile() as file:  # without a name, so that it goes with the array
        return np.memmap(file, dtype, mode="w+", shape=size)


def _as(frames: Frames, dtype: np.dtype[Any]) -> Frames:
    return widened(frames) if dtype == np.uint16 else frames


def _unreadable(errors: Sequence[ImageError], total: int) -> ImageError:
    told = ", ".join(f"{error.name}: {error.reason}" for error in errors[:3])
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    them = "it" if len(errors) == 1 else "them"
    return ImageError(
        f"{len(errors)} of {total} images cannot be read",
        told + more,
        f"remove {them} or export {them} again",
    )
