"""What the memory believes normal: the places of normal images that each prototype stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from anomem.decision.scores import scale_names
from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.image_set import tensor_of
from anomem.images.layers import Pixels
from anomem.images.read import read_all
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource
from anomem.model.features import forward_passes
from anomem.model.memory import HopfieldMemory
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import PlaceMemory
from anomem.runtime.progress import Progress

_BATCH = 128
_NEAREST = 6
"""Images shown for each prototype."""
_CONTEXT = 1.0
"""Cells that are shown around that of a place, as it sees more than its own."""


@dataclass(frozen=True)
class Place:
    """Names a place of a feature map, of one image.

    Attributes:
        image: Index of the image.
        row: From the top, of the map.
        column: From the left.
    """

    image: int
    row: int
    column: int


@dataclass(frozen=True)
class ScalePrototypes:
    """Describes the P prototypes of one scale among the places of N images.

    Attributes:
        name: Of the scale.
        grid: Height and width of its feature map.
        usage: (P,) share of all places that recall each prototype most; a dead one has 0.
        weight: (P,) mean weight of each in the retrieval (the softmax of section 3.1; the share
            of places where the nearest alone is recalled).
        cosine: (P, K) of each prototype to the nearest place of each of its K nearest images, the
            nearest first.
        nearest: Those places, K for each prototype.
    """

    name: str
    grid: tuple[int, int]
    usage: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    cosine: npt.NDArray[np.float32]
    nearest: list[list[Place]]

    @property
    def dead(self) -> int:
        """Count the prototypes that no place recalls most."""
        return int((self.usage == 0).sum())

    @property
    def in_use(self) -> float:
        """Count how many prototypes of equal shares have the entropy of the shares there are."""
        shares = self.usage[self.usage > 0]
        return float(np.exp(-(shares * np.log(shares)).sum()))


def find_prototypes(
    network: MultiScaleMemory,
    source: ImageSource,
    shape: ImageShape,
    *,
    progress: Progress | None = None,
) -> list[ScalePrototypes]:
    """Find the places that each prototype of each scale stands for.

    Args:
        network: In evaluation mode.
        source: Frames of normal images; unreadable ones are left out.
        shape: Shape that frames are brought to.
        progress: Called with the images done and in all.

    Raises:
        ValueError: No image can be read.
    """
    counts = [_Count(memory, _NEAREST) for memory in network.scale_memories()]
    total = len(source)
    errors: dict[int, ImageError] = {}
    for part, batch in read_all(source, Framing("resize", shape, reduced=False), _BATCH):
        if len(batch.images):
            passes = forward_passes(network, tensor_of(batch.images))
            images = iter(torch.from_numpy(batch.image))
            for pixels in passes:
                of_pass = torch.stack([next(images) for _ in pixels])
                with torch.inference_mode():
                    for count, features in zip(counts, network(pixels), strict=True):
                        count.add(features, of_pass)
        errors |= batch.errors
        if progress:
            progress(part.stop, total)
    if len(errors) == total:
        raise next(iter(errors.values()))
    names = scale_names(len(counts))
    return [count.result(name) for name, count in zip(names, counts, strict=True)]


class _Count:
    """Counts usage and nearest places of the prototypes of one memory, batch by batch."""

    def __init__(self, memory: HopfieldMemory | PlaceMemory, nearest: int) -> None:
        self.memory, self.wanted = memory, nearest
        size = len(memory.prototypes)
        self.places = 0
        self.used = torch.zeros(size, dtype=torch.float64)
        self.weight = torch.zeros(size, dtype=torch.float64)
        self.alike = torch.zeros(0, size)
        self.cosine = torch.zeros(0, size)
        self.image = torch.zeros(0, size, dtype=torch.int64)
        self.place = torch.zeros(0, size, dtype=torch.int64)
        self.grid = (0, 0)

    def add(self, features: Tensor, images: Tensor) -> None:
        """Take in the feature maps (B, C, H, W) of images (B,) by their indices."""
        self.grid = (features.shape[2], features.shape[3])
        size = len(self.memory.prototypes)
        for index, one in zip(images, features.permute(0, 2, 3, 1), strict=True):
            places = one.flatten(0, 1)
            recalled = torch.bincount(self.memory.recalled(places).cpu(), minlength=size)
            self.places += len(places)
            self.used += recalled
            if isinstance(self.memory, PlaceMemory):
                self.weight += recalled
            else:
                self.weight += self.memory.weights(places).sum(dim=0).cpu()
            self._keep_nearest(index, places)

    def _keep_nearest(self, index: Tensor, places: Tensor) -> None:
        """Take in the place of an image, of places (H W, C), that is most alike to each prototype.

        Alike as the memory recalls: by cosine where prototypes are learnt, by distance where they
        are places.
        """
        values = self.memory.comparable(places)
        prototypes = self.memory.prototypes.float()
        if isinstance(self.memory, PlaceMemory):
            alike = -torch.cdist(values, prototypes)
        else:
            alike = normalize(values, dim=-1) @ normalize(prototypes, dim=-1).T
        best, place = alike.max(dim=0)
        cosine = torch.cosine_similarity(values[place], prototypes, dim=-1)
        fresh = (best.cpu(), cosine.cpu(), index.expand_as(place), place.cpu())
        known = (self.alike, self.cosine, self.image, self.place)
        joined = [torch.cat([old, new[None]]) for old, new in zip(known, fresh, strict=True)]
        self.alike, order = joined[0].topk(min(self.wanted, len(joined[0])), dim=0)
        self.cosine, self.image, self.place = (each.gather(0, order) for each in joined[1:])

    def result(self, name: str) -> ScalePrototypes:
        """What was counted."""
        nearest = [
            [
                Place(image, *divmod(place, self.grid[1]))
                for image, place in zip(images, places, strict=True)
            ]
            for images, places in zip(self.image.T.tolist(), self.place.T.tolist(), strict=True)
        ]
        return ScalePrototypes(
            name,
            self.grid,
            (self.used / self.places).numpy(),
            (self.weight / self.places).numpy(),
            self.cosine.T.numpy(),
            nearest,
        )


def patch_of(
    image: Pixels, place: Place, grid: tuple[int, int], context: float = _CONTEXT
) -> Pixels:
    """Cut out the cell of a place, and so many cells around it as lie within the image.

    Args:
        image: H x W x C.
        place: On the grid.
        grid: Height and width of the feature map.
        context: Cells on every side.
    """
    bounds = []
    for index, cells, side in zip((place.row, place.column), grid, image.shape, strict=False):
        cell = side / cells
        low = max(int((index - context) * cell), 0)
        bounds.append(slice(low, max(min(round((index + 1 + context) * cell), side), low + 1)))
    return image[bounds[0], bounds[1]]


def most_used_first(scale: ScalePrototypes) -> Sequence[int]:
    """Sort the indices of the prototypes by falling usage and then by falling weight."""
    order: list[int] = np.lexsort((-scale.weight, -scale.usage)).tolist()
    return order
