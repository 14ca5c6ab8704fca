"""Prototypes that are places of normal images: chosen from features, in place of stage 1."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from anomem.images.image_set import Chosen, batches, evenly
from anomem.model.directions import at_right_angles
from anomem.model.features import forward_passes
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import MOST_CHANNELS, Places
from anomem.runtime.device import repeatable_kernels
from anomem.runtime.progress import Progress

_PLACES = 60_000
"""Among which the prototypes of a scale are chosen."""
_MOST_FRAMES = 1000


def choose_prototypes(
    network: MultiScaleMemory,
    normals: Chosen,
    held_out: Chosen,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Fill the memories of a network in place, and measure how far held-out normals are from them.

    Args:
        network: In evaluation mode; its memories are of places.
        normals: Frames of training normals; places are drawn from at most 1,000 of them. The
            memories know them by their numbers here.
        held_out: Frames of unseen normals, of which at most 1,000 are looked at.
        seed: Of the places that are drawn, some 60,000 a scale at most.
        progress: Called with the scales done and in all.
    """
    memories = network.place_memories()
    for scale, memory in enumerate(memories):
        memory.directions.copy_(at_right_angles(len(memory.directions), MOST_CHANNELS, scale))
    for scale, places in enumerate(_drawn_places(network, normals, seed)):
        memories[scale].fill(places, seed)
        if progress:
            progress(scale + 1, len(memories))
    held_out = held_out.spread(_MOST_FRAMES)
    every = zip(*_distances(network, held_out), strict=True)
    for memory, distances in zip(memories, every, strict=True):
        memory.level.copy_(torch.cat(distances).mean().clamp(min=1e-8))


def with_kind(
    network: MultiScaleMemory, normals: Chosen, sizes: Sequence[int], seed: int
) -> MultiScaleMemory:
    """Give a network that recalls a further kind of normal too.

    Prototypes join until the places of the new kind are as near to one as those of the fit are, so
    that a kind like those that are known costs little. Distances of what was measured before can
    only shrink.

    Args:
        network: In evaluation mode, left as it is.
        normals: Frames of the new kind, which are numbered behind those that are known.
        sizes: Prototypes that join at each scale at most.
        seed: Of the places that are drawn.
    """
    wider = copy.deepcopy(network)
    known = 1 + max(int(memory.origin[:, 0].max()) for memory in wider.place_memories())
    drawn = _drawn_places(network, normals, seed, known)
    for memory, most, places in zip(wider.place_memories(), sizes, drawn, strict=True):
        memory.add(places, most)
    return wider


@repeatable_kernels()
@torch.inference_mode()
def _drawn_places(
    network: MultiScaleMemory, normals: Chosen, seed: int, first: int = 0
) -> list[Places]:
    """Places of normals drawn at random, as many of each frame, at each scale.

    Frames are numbered as in ``normals``, from ``first`` on.
    """
    frames, number = normals.spread(_MOST_FRAMES), first + evenly(len(normals), _MOST_FRAMES)
    share = math.ceil(_PLACES / len(frames))
    memories = network.place_memories()
    # One a scale, so that what is drawn does not depend on how images are cut into passes.
    generators = [torch.Generator().manual_seed(seed) for _ in memories]
    parts: list[list[Places]] = []
    for maps in _maps(network, frames):
        of_pass, number = number[: len(maps[0])], number[len(maps[0]) :]
        drawn = []
        for memory, generator, features in zip(memories, generators, maps, strict=True):
            places = memory.comparable(features.permute(0, 2, 3, 1).flatten(1, 2))
            order = torch.rand(places.shape[:2], generator=generator).argsort(dim=1)[:, :share]
            origin = torch.stack([of_pass[:, None].expand_as(order), order], dim=2)
            rows = order[..., None].expand(-1, -1, places.shape[2]).to(places.device)
            values = places.gather(1, rows).flatten(0, 1).half()
            drawn.append(Places(values, origin.flatten(0, 1).to(places.device)))
        parts.append(drawn)
    return [
        Places(*(torch.cat(each) for each in zip(*scale, strict=True)))
        for scale in zip(*parts, strict=True)
    ]


def _maps(network: MultiScaleMemory, frames: Chosen) -> Iterator[list[Tensor]]:
    for _, batch in batches(frames):
        for pixels in forward_passes(network, batch):
            yield network(pixels)


@repeatable_kernels()
@torch.inference_mode()
def _distances(network: MultiScaleMemory, frames: Chosen) -> list[list[Tensor]]:
    """Distance of every place to what is recalled, a part of the frames after the other."""
    return [
        [each.norm(dim=1).flatten() for each in network.deviations_of(maps)]
        for maps in _maps(network, frames)
    ]
