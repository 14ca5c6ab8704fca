"""A source of images to tensors of one size, in memory or in a file."""

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
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
from anomem.images.framing import Framing, frame
from anomem.images.resize import ImageShape, batch_to_shape, to_shape
from anomem.images.source import ImageSource

_CHUNK = 256  # images


@dataclass(frozen=True)
class Batch:
    """What could be read of the images asked for.

    Attributes:
        images: N' x C x H x W, uint8 or uint16.
        kept: N' indices into the source, in the order asked for.
        errors: for each index that could not be read, the sentence that says why.
    """

    images: Tensor
    kept: list[int]
    errors: dict[int, str]


class PreparedImages:
    """Images of one size, in memory or in a temporary file mapped to it.

    Attributes:
        images: N x C x H x W, uint8 or uint16.
    """

    def __init__(self, images: Tensor) -> None:
        """Keep the images."""
        self.images = images

    def __len__(self) -> int:
        """The number of images N."""
        return len(self.images)

    def take(self, indices: Tensor) -> Tensor:
        """The images of B indices, B x C x H x W, uint8 or uint16."""
        return self.images.index_select(0, indices.to(self.images.device))


@dataclass(frozen=True)
class PreparedFrames:
    """The frames of N images.

    Attributes:
        frames: F of them, N or more.
        image: (F,) int64, index of the image of each, not falling.
        count: N.
    """

    frames: PreparedImages
    image: Tensor
    count: int


def read(source: ImageSource, indices: Sequence[int], shape: ImageShape) -> Batch:
    """Read some images and bring them to one shape; bad ones are told apart, not raised.

    An array whose images have the shape already is not copied where the indices are a contiguous
    range, so the images may share its memory.

    Args:
        source: the images.
        indices: which of them.
        shape: the shape wanted.

    Returns:
        The images, uint8, or uint16 if any of them has 16 bits, with what could not be read.
    """
    images, errors = _read(source, indices, shape)
    kept = [index for index in indices if index not in errors]
    return Batch(images, kept, {index: str(error) for index, error in errors.items()})


def prepare(
    source: ImageSource,
    shape: ImageShape,
    *,
    memory_limit: int = 4 * 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedImages:
    """Read all images, each once, into memory, or into a temporary file where they do not fit.

    Args:
        source: N images.
        shape: the shape wanted.
        memory_limit: bytes that the images may take in memory.
        progress: called with the number of images read so far and N.

    Raises:
        ImageError: some images cannot be read; names up to three of them.
        ValueError: the folder of temporary files has no room for them.
    """
    total = len(source)
    size = (total, shape.channels, shape.height, shape.width)
    images = _room(size, torch.uint8, memory_limit)
    errors: dict[int, ImageError] = {}
    for start in range(0, total, _CHUNK):
        chunk, bad = _read(source, range(start, min(start + _CHUNK, total)), shape)
        errors |= bad
        if chunk.dtype == torch.uint16 and images.dtype == torch.uint8:
            plain, images = images, _room(size, torch.uint16, memory_limit)
            for done in range(0, start, _CHUNK):
                images[done : done + _CHUNK] = _widen(plain[done : done + _CHUNK])
        if not errors:
            images[start : start + _CHUNK] = _widen(chunk) if images.dtype != chunk.dtype else chunk
        if progress is not None:
            progress(min(start + _CHUNK, total), total)
    _raise_any(errors, total)
    return PreparedImages(images)


def prepare_frames(
    source: ImageSource,
    framing: Framing,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedFrames:
    """Frame all images and :func:`prepare` their frames."""
    framed = frame(source, framing)
    frames = prepare(framed.frames, framing.shape, progress=progress)
    return PreparedFrames(frames, torch.from_numpy(framed.image), len(source))


def _room(size: tuple[int, int, int, int], dtype: torch.dtype, memory_limit: int) -> Tensor:
    """An empty tensor of a size, in memory or, where it takes more than the limit, in a file."""
    taken = math.prod(size) * dtype.itemsize
    if taken <= memory_limit:
        return torch.empty(size, dtype=dtype)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < taken:
        raise ValueError(
            f"{size[0]} images take {taken / 2**30:.3g} GiB and {folder} has "
            f"{free / 2**30:.3g} GiB free; name a larger folder in TMPDIR, or make them smaller."
        )
    with tempfile.TemporaryFile() as file:  # without a name, so that it goes with the tensor
        kind = np.uint16 if dtype == torch.uint16 else np.uint8
        return torch.from_numpy(np.memmap(file, kind, mode="w+", shape=size))


def _read(
    source: ImageSource, indices: Sequence[int], shape: ImageShape
) -> tuple[Tensor, dict[int, ImageError]]:
    if isinstance(source, ArraySource):
        return batch_to_shape(_select(source.array, indices), shape), {}

    def one(index: int) -> Tensor | ImageError:
        try:
            with BUDGET.held(), named(source.names[index]):
                return to_shape(source[index], shape)
        except ImageError as error:
            return ImageError(*error.args)  # a fresh one: the traceback holds on to the pixels

    # Pillow releases the interpreter lock while it decodes, so as many threads as compute do.
    with ThreadPoolExecutor(max(2, torch.get_num_threads())) as pool:
        results = list(pool.map(one, indices))
    errors = {
        index: result
        for index, result in zip(indices, results, strict=True)
        if isinstance(result, ImageError)
    }
    images = [result for result in results if isinstance(result, Tensor)]
    if not images:
        size = (shape.channels, shape.height, shape.width)
        return torch.empty((0, *size), dtype=torch.uint8), errors
    if any(image.dtype == torch.uint16 for image in images):
        images = [image if image.dtype == torch.uint16 else _widen(image) for image in images]
    return torch.stack(images), errors


def _select(array: npt.NDArray[Any], indices: Sequence[int]) -> npt.NDArray[Any]:
    """The images of some indices: a view for a contiguous range, else a copy."""
    wanted = np.asarray(indices, dtype=np.int64)
    if len(wanted) and wanted[0] >= 0 and (np.diff(wanted) == 1).all() and wanted[-1] < len(array):
        return array[wanted[0] : wanted[-1] + 1]
    return array[wanted]


def _widen(images: Tensor) -> Tensor:
    """Exact uint8 to uint16: 255 becomes 65535."""
    return images.to(torch.uint16).mul_(257)


def _raise_any(errors: dict[int, ImageError], total: int) -> None:
    if not errors:
        return
    named = ", ".join(f"{error.name}: {error.reason}" for error in list(errors.values())[:3])
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    raise ImageError(
        f"{len(errors)} of {total} images cannot be read",
        named + more,
        "remove it or export it again" if len(errors) == 1 else "remove them or export them again",
    )
