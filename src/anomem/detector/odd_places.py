"""The places on which a score rests, and the places of training normals they should look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from anomem.detector.detector import Detector
from anomem.detector.identity import known_file
from anomem.detector.origins import Origin
from anomem.images.framing import Box, boxes
from anomem.images.layers import Pixels
from anomem.model.one_class import DeviatingPlaces

_APART = 2
"""Cells of the finest grid up to which two places are told as one."""


@dataclass(frozen=True)
class OddPlace:
    """Names a place that deviates most, and the place of a training normal that is most like it.

    Each is a cell of the grid of a scale with those around it, which the memory sees too.

    Attributes:
        box: Of the place, in pixels of the image that is explained.
        scale: Name of the scale that finds it most unusual.
        distance: Between the two places, in mean distances of places of held-out normals.
        prototype: Number of the prototype that is the place of a training normal.
        origin: Of which training image it is; None where it is of an image labelled normal since.
        cell: Row and column of the middle of the place on the grid of that image, or of its tile.
        grid: Height and width of the grid.
        normal_box: Of the place of the training normal, in pixels of its image; None where that is
            no file of this machine, or not the same any more.
        normal_image: The pixels of that image; None where there is no box.
    """

    box: Box
    scale: str
    distance: float
    prototype: int
    origin: Origin | None
    cell: tuple[int, int] | None
    grid: tuple[int, int]
    normal_box: Box | None
    normal_image: Pixels | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return (
            f"{_in_words(self.box)}, found by {self.scale}: {self.distance:.1f} times as far from "
            f"normal places as those of held-out normals are; most like {self._where()}"
        )

    def _where(self) -> str:
        if self.origin is None or self.cell is None:
            return "an image labelled normal"
        if self.normal_box is not None:
            return f"{self.origin.image}, {_in_words(self.normal_box)}"
        (row, column), (rows, columns) = self.cell, self.grid
        tile = f" of tile {self.origin.tile + 1}" if self.origin.tile else ""
        where = f"row {row + 1} of {rows}, column {column + 1} of {columns}{tile}"
        return f"{self.origin.image}, {where}"

    def as_json(self) -> dict[str, Any]:
        """Give all of it, ready for JSON."""
        told = asdict(replace(self, normal_image=None))
        told.pop("normal_image")
        origin = told.pop("origin") or {"image": None, "tile": None}
        return {**told, "normal": origin["image"], "normal_tile": origin["tile"]}


def odd_places(
    detector: Detector, maps: Sequence[Tensor], frame: Box, size: Sequence[int]
) -> list[OddPlace]:
    """Find the places of a frame on which its score rests, those that deviate most first.

    Of neighbours the one that deviates most is taken.

    Args:
        detector: With memories of places; with others there are none.
        maps: What the memories read of it, (1, C_s, H_s, W_s) at each scale.
        frame: Where the frame lies in its image.
        size: Height and width of the image.
    """
    network = detector.network
    if not network.of_places:
        return []
    distances = network.relative_distances(network.deviations_of(maps))
    found = []
    training_image = cache(partial(_training_image, detector))
    for most in _apart(DeviatingPlaces.of(distances, network.lambdas)):
        scale, (row, column) = _most_unusual(distances, most)
        memory, grid = network.place_memories()[scale], _grid(distances[scale])
        prototype = int(memory.recalled(maps[scale][0, :, row, column]))
        number, place = memory.origin[prototype].tolist()
        known = number >= 0
        origin = detector.origins[number] if known else None
        cell = divmod(place, grid[1]) if known else None
        normal = training_image(origin) if origin else None
        found.append(
            OddPlace(
                _around((row, column), grid, frame, size),
                f"scale_{scale + 1}",
                float(distances[scale][0, row, column]),
                prototype,
                origin,
                cell,
                grid,
                _box_there(detector, normal, origin, cell, grid) if origin and cell else None,
                normal,
            )
        )
    return found


def _training_image(detector: Detector, origin: Origin) -> Pixels | None:
    """Read the image of an origin; None where it is no file of this machine, or another one."""
    return known_file(origin.image, detector.framing, torch.tensor([origin.digest]))


def _apart(most: DeviatingPlaces) -> list[tuple[int, int]]:
    """Rows and columns of the places of one image, those left out that are near an earlier one."""
    cells: list[tuple[int, int]] = []
    for number in most.places[0].tolist():
        row, column = divmod(number, most.grid[1])
        if all(max(abs(row - r), abs(column - c)) > _APART for r, c in cells):
            cells.append((row, column))
    return cells


def _most_unusual(
    distances: Sequence[Tensor], most: tuple[int, int]
) -> tuple[int, tuple[int, int]]:
    """The scale that finds a cell of the finest grid most unusual, and its own cell there."""
    height, width = _grid(distances[0])
    found = []
    for scale, each in enumerate(distances):
        rows, columns = _grid(each)
        row = (2 * most[0] + 1) * rows // (2 * height)
        column = (2 * most[1] + 1) * columns // (2 * width)
        found.append((float(each[0, row, column]), scale, (row, column)))
    _, scale, cell = max(found)
    return scale, cell


def _grid(maps: Tensor) -> tuple[int, int]:
    return maps.shape[1], maps.shape[2]


def _box_there(
    detector: Detector,
    image: Pixels | None,
    origin: Origin,
    cell: tuple[int, int],
    grid: tuple[int, int],
) -> Box | None:
    """Where a place of a training image lies in it, if that can still be read."""
    if image is None:
        return None
    size = image.shape[:2]
    frames = boxes(size, detector.framing)
    return _around(cell, grid, frames[min(origin.tile, len(frames) - 1)], size)


def _around(cell: tuple[int, int], grid: tuple[int, int], frame: Box, size: Sequence[int]) -> Box:
    """Bound a cell of the grid of a frame, and those around it within frame and image.

    >>> _around((0, 2), (4, 4), Box(100, 0, 40, 40), (200, 38))
    Box(top=100, left=10, height=20, width=28)
    """
    bounds = []
    starts, sides = (frame.top, frame.left), (frame.height, frame.width)
    for index, cells, start, side, end in zip(cell, grid, starts, sides, size, strict=True):
        low = start + round(max(index - 1, 0) * side / cells)
        high = start + round(min(index + 2, cells) * side / cells)
        low = min(max(low, 0), end - 1)
        bounds.append((low, max(min(high, end), low + 1) - low))
    (top, height), (left, width) = bounds
    return Box(top, left, height, width)


def _in_words(box: Box) -> str:
    return f"left {box.left}, top {box.top} ({box.width} x {box.height} pixels)"
