"""Images to frames of one shape, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.images.arrays import ArraySource
from anomem.images.decode_memory import BUDGET
from anomem.images.errors import ImageError, named
from anomem.images.framing import Framing, frames_of
from anomem.images.resize import batch_to_shape, to_shape
from anomem.images.source import ImageSource
from anomem.runtime.threads import threads

BATCH = 256
"""Images read at a time."""

Frames = npt.NDArray[Any]
"""F x C x H x W, uint8 or uint16."""


@dataclass(frozen=True)
class ReadFrames:
    """Holds the frames of the images asked for.

    Attributes:
        images: The F frames of those that could be read, F x C x H x W, uint8, or uint16 if any of
            them has 16 bits.
        image: (F,) int64, index in the source of the image of each frame.
        errors: For each index that could not be read, what is wrong with it.
    """

    images: Frames
    image: npt.NDArray[np.int64]
    errors: dict[int, ImageError]


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
        chosen = np.asarray(indices, dtype=np.int64)
        return ReadFrames(batch_to_shape(_select(source.array, chosen), shape), chosen, {})

    def one(index: int) -> Frames | ImageError:
        try:
            with BUDGET.held(), named(source.names[index]):
                frames = frames_of(source, index, framing)
                return np.stack([to_shape(pixels, shape) for pixels in frames])
        except ImageError as error:
            return ImageError(*error.args)  # a fresh one: the traceback holds on to the pixels

    # Pillow releases the interpreter lock while it decodes, so as many threads as compute do.
    with ThreadPoolExecutor(max(2, threads())) as pool:
        found = dict(zip(indices, pool.map(one, indices), strict=True))
    errors = {index: each for index, each in found.items() if isinstance(each, ImageError)}
    frames = {index: each for index, each in found.items() if isinstance(each, np.ndarray)}
    none = np.empty((0, shape.channels, shape.height, shape.width), np.uint8)
    deep = any(each.dtype == np.uint16 for each in frames.values())
    parts = [widened(each) if deep else each for each in frames.values()]
    image = np.array([index for index, each in frames.items() for _ in each], dtype=np.int64)
    return ReadFrames(np.concatenate(parts) if parts else none, image, errors)


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


def widened(frames: Frames) -> npt.NDArray[np.uint16]:
    """Give frames as uint16, exactly: 255 becomes 65535."""
    return frames if frames.dtype == np.uint16 else frames.astype(np.uint16) * np.uint16(257)


def _select(array: npt.NDArray[Any], wanted: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """The images of some indices: a view for a contiguous range, else a copy."""
    if len(wanted) and wanted[0] >= 0 and (np.diff(wanted) == 1).all() and wanted[-1] < len(array):
        return array[wanted[0] : wanted[-1] + 1]
    return array[wanted]
