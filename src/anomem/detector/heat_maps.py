"""Where images are unusual: heat maps, measured a batch of frames at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from anomem.decision.scores import Heat
from anomem.detector.detector import Detector
from anomem.images.combined import choose
from anomem.images.errors import ImageError, named
from anomem.images.framing import Box, Framing, assembled, boxes
from anomem.images.image_set import tensor_of
from anomem.images.read import read
from anomem.images.source import ImageSource, SizedSource
from anomem.model.heat import HeatModel, PlaceMaps
from anomem.model.place_maps import place_maps
from anomem.runtime.progress import Progress

_FRAMES = 64
"""Measured at a time,"""
_NUMBERS = 2**22
"""and numbers in them: what is seen at their places takes many times as much."""


@dataclass(frozen=True)
class Unusual:
    """Holds how unusual each place of F frames is.

    Attributes:
        kinds: Of each kind of normal the maps of :class:`~anomem.model.heat.HeatModel`,
            (F, H_s, W_s) each.
        grid: Height and width of the finest map.
    """

    kinds: list[list[Tensor]]
    grid: tuple[int, int]

    @staticmethod
    def of(seen: PlaceMaps, models: Sequence[HeatModel]) -> Unusual:
        """Compare what is seen with what is usual for each kind of normal."""
        height, width = seen.features[0].shape[2:]
        return Unusual([model(seen) for model in models], (height, width))

    @staticmethod
    def joined(parts: Sequence[Unusual]) -> Unusual:
        """Join the frames of all parts, at least one, in order."""
        kinds = zip(*(part.kinds for part in parts), strict=True)
        maps = [[torch.cat(each) for each in zip(*kind, strict=True)] for kind in kinds]
        return Unusual(maps, parts[0].grid)

    def at(self, frames: npt.NDArray[np.bool_]) -> Unusual:
        """Choose some of the frames, by a mask."""
        chosen = torch.from_numpy(frames)
        return Unusual([[maps[chosen] for maps in kind] for kind in self.kinds], self.grid)

    def heat(self, size: Sequence[int], framing: Framing) -> Heat:
        """Draw the heat map of the one image whose frames these are.

        Of each frame it is that of the kind of normal it is nearest to, averaged over the maps and
        smoothed by half a place.

        Args:
            size: Height and width of the image.
            framing: How it became frames.
        """
        where = boxes(size, framing)
        kinds = []
        for kind in self.kinds:
            maps = [[heat for _, heat in enlarged(each, where)] for each in kind]
            kinds.append([np.mean(heats, axis=0) for heats in zip(*maps, strict=True)])
        frames = []
        for box, heats in zip(where, zip(*kinds, strict=True), strict=True):
            half = (box.height / self.grid[0] / 2, box.width / self.grid[1] / 2)
            frames.append((box, gaussian_filter(np.min(heats, axis=0), half, mode="nearest")))
        return assembled(frames, size, framing.region)


def enlarged(maps: Tensor, where: Sequence[Box]) -> Iterator[tuple[Box, Heat]]:
    """Yield the box of each of the maps (F, H_s, W_s), and the map as large as it."""
    for places, box in zip(maps, where, strict=True):
        size = (box.height, box.width)
        yield box, functional.interpolate(places[None, None], size, mode="bilinear")[0, 0].numpy()


@torch.no_grad()
def heat_maps(
    detector: Detector, source: ImageSource, progress: Progress | None = None
) -> Iterator[Heat | str]:
    """Yield the heat map of each image in order, or the sentence that says why it has none.

    What is seen at the places is measured in batches; a map of the size of its image is made when
    it is asked for.

    Args:
        detector: Gives the framing, the network and the heat models.
        source: N images.
        progress: Called with the images done and N.
    """
    total, step = len(source), detector.framing.at_a_time(_FRAMES)
    for start in range(0, total, step):
        part = SizedSource(choose(source, np.arange(start, min(start + step, total))))
        for index, found in enumerate(_unusual(detector, part)):
            yield found if isinstance(found, str) else _heat(part, index, found, detector.framing)
            if progress:
                progress(start + index + 1, total)


def _heat(source: SizedSource, index: int, unusual: Unusual, framing: Framing) -> Heat | str:
    try:
        with named(source.names[index]):
            return unusual.heat(source.size(index), framing)
    except ImageError as error:
        return str(error)


def _unusual(detector: Detector, source: ImageSource) -> list[Unusual | str]:
    """How unusual the places of each image are, or why it cannot be read."""
    framing = detector.framing
    batch, shape = read(source, range(len(source)), framing), framing.shape
    most = min(max(_NUMBERS // (shape.channels * shape.height * shape.width), 1), _FRAMES)
    some = tensor_of(batch.images).split(most) if len(batch.images) else ()
    parts = [Unusual.of(place_maps(detector.network, frames), detector.heat) for frames in some]
    every = Unusual.joined(parts) if parts else None
    return [
        every.at(batch.image == index)
        if every and index not in batch.errors
        else str(batch.errors[index])
        for index in range(len(source))
    ]
