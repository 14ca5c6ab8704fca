"""Images to frames of one shape: a batch at a time, or all, in memory or in a file."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.images.arrays import ArraySource
from anomem.images.decode_memory import BUDGET
from anomem.images.errors import ImageError, named
from anomem.images.framing import Framing, frames_of
from anomem.images.image_set import BATCH
from anomem.images.resize import ImageShape, batch_to_shape, to_shape
from anomem.images.source import ImageSource
from anomem.runtime.progress import Progress

_IN_MEMORY = 4 * 2**30
"""Bytes of frames that are kept in memory."""


@dataclass(frozen=True)
class ReadFrames:
    """Holds the frames of the images asked for.

    Attributes:
        images: The F frames of those that could be read, F x C x H x W, uint8, or uint16 if any of
            them has 16 bits.
        image: (F,) int64, index in the source of the image of each frame.
        errors: For each index that could not be read, what is wrong with it.
    """

    images: Tensor
    image: Tensor
    errors: dict[int, ImageError]


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


def read(source: ImageSource, indices: Sequence[int], framing: Framing) -> ReadFrames:
    """Read some images, each once, as frames; bad ones are told apart, not raised.

    Images of an array that are of the shape of a frame already are not copied where the indices
    are a contiguous range, so the frames may share its memory.

    Args:
        source: The images.
        indices: Which of them.
        framing: How they become frames.
    """
    shape = framing.shape
    if isinstance(source, ArraySource) and framing.whole:
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return ReadFrames(batch_to_shape(_select(source.array, indices), shape), chosen, {})

    def one(index: int) -> Tensor | ImageError:
        try:
            with BUDGET.held(), named(source.names[index]):
                frames = frames_of(source, index, framing)
                return torch.stack([to_shape(pixels, shape) for pixels in frames])
        except ImageError as error:
            return ImageError(*error.args)  # a fresh one: the traceback holds on to the pixels

    # Pillow releases the interpreter lock while it decodes, so as many threads as compute do.
    with ThreadPoolExecutor(max(2, torch.get_num_threads())) as pool:
        found = dict(zip(indices, pool.map(one, indices), strict=True))
    errors = {index: each for index, each in found.items() if isinstance(each, ImageError)}
    frames = {index: each for index, each in found.items() if isinstance(each, Tensor)}
    none = torch.empty((0, shape.channels, shape.height, shape.width), dtype=torch.uint8)
    deep = any(each.dtype == torch.uint16 for each in frames.values())
    parts = [_widened(each) if deep else each for each in frames.values()]
    image = [index for index, each in frames.items() for _ in each]
    return ReadFrames(torch.cat(parts) if parts else none, torch.tensor(image).long(), errors)


def read_all(
    source: ImageSource, framing: Framing, most: int = BATCH
) -> Iterator[tuple[range, ReadFrames]]:
    """Read all images of a source in order, so many at a time, but few where they are cut.

    Args:
        source: N images.
        framing: How they become frames.
        most: Images at a time.

    Yields:
        The indices of some images, and their frames.
    """
    step = framing.at_a_time(most)
    for start in range(0, len(source), step):
        part = range(start, min(start + step, len(source)))
        yield part, read(source, part, framing)


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
    frames, count = _room(total, shape, torch.uint8), 0
    image = [torch.zeros(0, dtype=torch.int64)]
    errors: dict[int, ImageError] = {}
    for part, batch in read_all(source, framing):
        errors |= batch.errors
        if not errors:
            needed = count + len(batch.image)
            dtype = batch.images.dtype if frames.dtype == torch.uint8 else frames.dtype
            if needed > len(frames) or dtype != frames.dtype:
                # Images are mostly of one size, and so have as many frames as those so far; where
                # the first ones are the largest, no more than twice the room is taken.
                alike = -(-needed * total // part.stop)
                most = max(needed, len(frames), min(alike, 2 * len(frames)))
                known, frames = frames, _room(most, shape, dtype)
                for start in range(0, count, BATCH):
                    stop = min(start + BATCH, count)
                    frames[start:stop] = _widened(known[start:stop], dtype)
            frames[count:needed] = _widened(batch.images, dtype)
            image.append(batch.image)
            count = needed
        if progress is not None:
            progress(part.stop, total)
    if errors:
        raise _unreadable(list(errors.values()), total)
    return PreparedFrames(PreparedImages(frames[:count]), torch.cat(image), total)


def prepare(source: ImageSource, shape: ImageShape) -> PreparedImages:
    """Read all images, each once and as a whole, as :func:`prepare_frames` does."""
    return prepare_frames(source, Framing("resize", shape, reduced=False)).frames


def _room(count: int, shape: ImageShape, dtype: torch.dtype) -> Tensor:
    """So many empty frames, in memory or, where they take more than the limit, in a file."""
    size = (count, shape.channels, shape.height, shape.width)
    taken = math.prod(size) * dtype.itemsize
    if taken <= _IN_MEMORY:
        return torch.empty(size, dtype=dtype)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < taken:
        raise ValueError(
            f"{count} frames take {taken / 2**30:.3g} GiB and {folder} has "
            f"{free / 2**30:.3g} GiB free; name a larger folder in TMPDIR, or make them smaller."
        )
    with tempfile.TemporaryFile() as file:  # without a name, so that it goes with the tensor
        kind = np.uint16 if dtype == torch.uint16 else np.uint8
        return torch.from_numpy(np.memmap(file, kind, mode="w+", shape=size))


def _select(array: npt.NDArray[Any], indices: Sequence[int]) -> npt.NDArray[Any]:
    """The images of some indices: a view for a contiguous range, else a copy."""
    wanted = np.asarray(indices, dtype=np.int64)
    if len(wanted) and wanted[0] >= 0 and (np.diff(wanted) == 1).all() and wanted[-1] < len(array):
        return array[wanted[0] : wanted[-1] + 1]
    return array[wanted]


def _widened(images: Tensor, dtype: torch.dtype = torch.uint16) -> Tensor:
    """Images as a type at least as wide, exactly: 255 becomes 65535."""
    return images if images.dtype == dtype else images.to(dtype).mul_(257)


def _unreadable(errors: Sequence[ImageError], total: int) -> ImageError:
    told = ", ".join(f"{error.name}: {error.reason}" for error in errors[:3])
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    them = "it" if len(errors) == 1 else "them"
    return ImageError(
        f"{len(errors)} of {total} images cannot be read",
        told + more,
        f"remove {them} or export {them} again",
    )
