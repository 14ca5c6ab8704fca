"""From which training images the prototypes of memories of places come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from anomem.detector.identity import Identities
from anomem.detector.json_tensor import as_tensor, of_tensor
from anomem.model.network import MultiScaleMemory


@dataclass(frozen=True)
class Origin:
    """Names a frame of a training image.

    Attributes:
        image: What the image was called; a file of this machine by its whole path, so that it is
            found from any folder.
        digest: Of its pixels, by which it is known again.
        tile: Number of the frame among those of its image, from 0; always 0 where images are not
            cut into tiles.
    """

    image: str
    digest: int
    tile: int


def origins_of(known: Identities, image: Tensor) -> list[Origin]:
    """Name frames by their images.

    Args:
        known: By what all images are known.
        image: (F,) int64, number of the image of each frame, those of one image in a row.
    """
    runs = ((number, len(list(run))) for number, run in groupby(image.tolist()))
    return [
        Origin(name, int(known.digest[number]), tile)
        for number, tiles in runs
        for name in (_found_again(known.names[number]),)
        for tile in range(tiles)
    ]


def _found_again(name: str) -> str:
    """Name a file of this machine by its whole path; other names stay as they are."""
    with suppress(OSError, ValueError):
        if Path(name).is_file():
            return str(Path(name).absolute())
    return name


def frames_of(origins: Sequence[Origin], digest: Tensor) -> Tensor:
    """Find the frames of images by the digests of these, (F,) int64: their numbers."""
    known = torch.tensor([origin.digest for origin in origins], dtype=torch.int64)
    return torch.nonzero(torch.isin(known, digest)).flatten()


def keep_origins(network: MultiScaleMemory, frames: Sequence[Origin]) -> tuple[Origin, ...]:
    """Keep those frames of which there are prototypes, and number them anew in the memories.

    Args:
        network: With memories of places, whose prototypes know their frames by number; changed in
            place. With learnt memories nothing is kept.
        frames: By those numbers.

    Returns:
        At most as many as there are prototypes.
    """
    memories = network.place_memories()
    if not memories:
        return ()
    used = torch.cat([memory.origin[:, 0] for memory in memories]).unique()
    for memory in memories:
        memory.origin[:, 0] = torch.searchsorted(used, memory.origin[:, 0].contiguous())
    return tuple(frames[number] for number in used.tolist())


def tensor_of(origins: Sequence[Origin]) -> Tensor:
    """Write them as a model folder keeps them."""
    return as_tensor([astuple(each) for each in origins])


def read_origins(network: MultiScaleMemory, numbers: Tensor) -> tuple[Origin, ...]:
    """Read what :func:`tensor_of` wrote, for a network whose memories are filled.

    Raises:
        ValueError: They are none, or a memory names one that is not among them.
    """
    found = of_tensor(numbers)
    if not isinstance(found, list) or not all(map(_is_origin, found)):
        raise ValueError("the origins of prototypes are none")
    memories = network.place_memories()
    if len({int(n) for memory in memories for n in memory.origin[:, 0].unique()}) != len(found):
        raise ValueError("a frame is of no prototype, or a prototype of no frame")
    for memory in memories:
        if ((memory.origin < 0) | (memory.origin >= 2**31)).any() or (
            memory.origin[:, 0] >= len(found)
        ).any():
            raise ValueError("a prototype is of no frame")
    return tuple(Origin(*each) for each in found)


def _is_origin(value: object) -> bool:
    return (
        isinstance(value, list)
        and [type(part) for part in value] == [str, int, int]
        and 0 <= value[2] < 2**31
    )
