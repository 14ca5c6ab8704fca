"""What the memory believes normal to be: its prototypes, by the places of images they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from anomem.detector.explain import scale_names
from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.image_set import floats_on
from anomem.images.layers import Pixels
from anomem.images.prepare import read_all
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource
from anomem.model.memory import HopfieldMemory
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import PlaceMemory
from anomem.runtime.progress import Progress

_BATCH = 128
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
        weight: (P,) mean weight of each in the retrieval (the softmax of section 3.1).
        cosine: (P, K) of each prototype to the nearest place of each of its K nearest images,
            falling.
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
    nearest: int = 6,
    progress: Progress | None = None,
) -> list[ScalePrototypes]:
    """Find the places that each prototype of each scale stands for.

    Args:
        network: In evaluation mode.
        source: Frames of normal images; unreadable ones are left out.
        shape: Shape that frames are brought to.
        nearest: Images shown for each prototype.
        progress: Called with the images done and in all.

    Raises:
        ValueError: No image can be read.
    """
    counts = [_Count(memory, nearest) for memory in network.scale_memories()]
    total = len(source)
    errors: dict[int, ImageError] = {}
    for part, batch in read_all(source, Framing("resize", shape, reduced=False), _BATCH):
        if len(batch.images):
            pixels = floats_on(network.encoder.mean.device, batch.images)
            with torch.inference_mode():
                for count, features in zip(counts, network(pixels), strict=True):
                    count.add(features, batch.image)
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
        self.cosine = torch.zeros(0, size)
        self.image = torch.zeros(0, size, dtype=torch.int64)
        self.place = torch.zeros(0, size, dtype=torch.int64)
        self.grid = (0, 0)

    def add(self, features: Tensor, images: Tensor) -> None:
        """Take in the feature maps (B, C, H, W) of images (B,) by their indices."""
        self.grid = (features.shape[2], features.shape[3])
        weights = self.memory.weights(features.permute(0, 2, 3, 1)).flatten(0, 2).cpu()
        self.places += len(weights)
        self.used += torch.bincount(weights.argmax(dim=1), minlength=weights.shape[1])
        self.weight += weights.sum(dim=0)
        best, place = _cosines(self.memory, features).max(dim=1)
        known = (self.cosine, self.image, self.place)
        fresh = (best, images[:, None].expand_as(place), place)
        cosine, image, place = (torch.cat(both) for both in zip(known, fresh, strict=True))
        self.cosine, order = cosine.topk(min(self.wanted, len(cosine)), dim=0)
        self.image, self.place = image.gather(0, order), place.gather(0, order)

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


def _cosines(memory: HopfieldMemory | PlaceMemory, features: Tensor) -> Tensor:
    """Cosine of each place of maps (B, C, H, W) to each prototype, (B, H W, P), on the CPU."""
    places = normalize(memory.comparable(features.flatten(2).transpose(1, 2)), dim=-1)
    return (places @ normalize(memory.prototypes.float(), dim=-1).T).cpu()


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
