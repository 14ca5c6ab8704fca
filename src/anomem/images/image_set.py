"""Images of one shape, drawn by index, and their numbers as floats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

_BATCH = 256


def tensor_of(array: npt.NDArray[Any]) -> Tensor:
    """Give an array as a tensor that shares its memory, or a copy where PyTorch cannot."""
    strange = any(step < 0 or step % array.itemsize for step in array.strides)
    return torch.from_numpy(array.copy() if strange or not array.flags.writeable else array)


class ImageSet(Protocol):
    """Gives images of one size by index."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """Give the images (B, C, H, W), uint8 or uint16, of B indices."""
        ...


@dataclass(frozen=True)
class Chosen:
    """Chooses some images of a set, by index."""

    images: ImageSet
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @staticmethod
    def of(images: ImageSet) -> Chosen:
        """Take all images of a set, to choose from."""
        return Chosen(images, torch.arange(len(images)))

    def take(self, indices: Tensor) -> Tensor:
        """Give the images (B, C, H, W) of indices into the chosen ones."""
        return self.images.take(self.indices[indices])

    def all(self) -> Tensor:
        """Give all of them, (N, C, H, W)."""
        return self.take(torch.arange(len(self)))

    def spread(self, most: int) -> Chosen:
        """Choose at most so many of them, evenly spaced."""
        if len(self) <= most:
            return self
        return Chosen(self.images, self.indices[evenly(len(self), most)])


def batches(images: ImageSet) -> Iterator[tuple[int, Tensor]]:
    """Yield all images of a set in order, a batch at a time, with the index of its first."""
    for start in range(0, len(images), _BATCH):
        yield start, images.take(torch.arange(start, min(start + _BATCH, len(images))))


def evenly(count: int, most: int) -> Tensor:
    """Give the indices of at most so many of a number of things, evenly spaced."""
    if count <= most:
        return torch.arange(count)
    return torch.linspace(0, count - 1, most).round().long()


def floats_on(device: torch.device, images: Tensor) -> Tensor:
    """Bring images of any shape to a device, as :func:`to_float` scales them.

    To a GPU they go by way of pinned memory, so that it goes on computing meanwhile.
    """
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return to_float(images.to(device, non_blocking=True))


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 or uint16 images of any shape to float32 in [0, 1]; floats pass as they are."""
    if images.is_floating_point():
        return images
    return images.float().div_(torch.iinfo(images.dtype).max)
