"""Prototypes that are places of normal images: chosen from features, in place of stage 1."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anomem.images.image_set import Chosen, batches, evenly
from anomem.model.directions import at_right_angles
from anomem.model.features import Features, extract_set, forward_passes
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import MOST_CHANNELS, Places
from anomem.runtime.device import repeatable_kernels
from anomem.runtime.progress import Progress

_PLACES = 60_000
"""Among which the prototypes of a scale are chosen."""
_MOST_FRAMES = 1000
_MEASURED = 60
"""Held-out frames whose mean distance makes those of different scales comparable."""
_TURNS = 10
"""Parts in which normals are held out, where each is in turn."""


@dataclass(frozen=True)
class Turn:
    """Holds a network that has not seen some of the normals that are held out.

    Attributes:
        network: Of the fit, or with memories that were made without these normals.
        frames: (f,) int64, numbers of their frames among all that are held out.
    """

    network: MultiScaleMemory
    frames: Tensor


def choose_prototypes(
    network: MultiScaleMemory,
    normals: Chosen,
    held_out: Chosen,
    seed: int,
    *,
    apart: tuple[Tensor, Tensor] | None = None,
    progress: Progress | None = None,
) -> list[Turn] | None:
    """Fill the memories of a network in place, and measure how far held-out normals are from them.

    Args:
        network: In evaluation mode; its memories are of places.
        normals: Frames of training normals; places are drawn from at most 1,000 of them. The
            memories know them by their numbers here.
        held_out: Frames of unseen normals; or some of the same frames, to be held out in turn.
        seed: Of the places that are drawn, some 60,000 a scale at most.
        apart: Where normals are held out in turn, (M,) and (F,) int64, number of the group of each
            frame of ``normals`` and of ``held_out``.
        progress: Called with the scales done and in all.

    Returns:
        By which networks held-out frames are measured where they are held out in turn; else None.
    """
    memories = network.place_memories()
    for scale, memory in enumerate(memories):
        memory.directions.copy_(at_right_angles(len(memory.directions), MOST_CHANNELS, scale))
    drawn, parts = _drawn_places(network, normals, seed), _parts(apart, seed)
    squared = []
    for scale, places in enumerate(drawn):
        squared.append(memories[scale].fill(places, seed, _part_of(places, parts)))
        if progress:
            progress(scale + 1, len(memories))
    turns = None if parts is None else _turns(network, drawn, squared, parts)
    measured = turns or [Turn(network, torch.arange(len(held_out)))]
    every = zip(*_distances(measured, held_out), strict=True)
    for scale, distances in enumerate(every):
        level = torch.cat(distances).mean().clamp(min=1e-8)
        for each in (network, *(turn.network for turn in measured)):
            each.place_memories()[scale].level.copy_(level)
    return turns


def _parts(apart: tuple[Tensor, Tensor] | None, seed: int) -> tuple[Tensor, Tensor] | None:
    """Deal the groups that are held out in turn out to ten parts.

    Args:
        apart: As of :func:`choose_prototypes`.
        seed: By which they are dealt out.

    Returns:
        (M,) and (F,) int64, part of each frame of the normals, -1 of those that are never held out,
        and of each frame that is.
    """
    if apart is None:
        return None
    of_normals, of_held_out = apart
    groups = of_held_out.unique()
    dealt = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    part = torch.full((int(max(each.max() for each in apart)) + 1,), -1)
    for number, each in enumerate(dealt.tensor_split(min(_TURNS, len(groups)))):
        part[groups[each]] = number
    return part[of_normals], part[of_held_out]


def _part_of(places: Places, parts: tuple[Tensor, Tensor] | None, first: int = 0) -> Tensor | None:
    """Part of each of M places, (M,), of frames that are numbered from ``first`` on."""
    if parts is None:
        return None
    return parts[0].to(places.origin.device)[places.origin[:, 0] - first]


def _turns(
    network: MultiScaleMemory,
    drawn: Sequence[Places],
    squared: Sequence[Tensor],
    parts: tuple[Tensor, Tensor],
    first: int = 0,
) -> list[Turn]:
    """Networks whose memories were made without a part of the normals each.

    Args:
        network: Of all of them.
        drawn: Places that its prototypes were chosen among.
        squared: Of each of these to the nearest prototype of each part, as of
            :class:`~anomem.model.place_memory.Centres`.
        parts: As of :func:`_parts`.
        first: Number of the first of the frames of normals in the memories.
    """
    of_normals, of_held_out = parts
    nearest = [distance.argmin(dim=0) for distance in squared]
    turns = []
    for part in range(int(of_held_out.max()) + 1):
        seen = first + torch.nonzero(of_normals == part).flatten()
        without = []
        for memory, places, distance, near in zip(
            network.place_memories(), drawn, squared, nearest, strict=True
        ):
            own, of_part = (
                torch.isin(each.origin[:, 0], seen.to(each.origin.device))
                for each in (memory, places)
            )
            uncovered = (near == part) & ~of_part
            others = Places(places.values[uncovered], places.origin[uncovered])
            to_others = distance[:, uncovered]
            to_others[part] = torch.inf
            without.append(memory.without(own, others, to_others.amin(dim=0)))
        # The encoder is one for all, and the memories come from above.
        other = copy.deepcopy(
            network, {id(each): each for each in (network.encoder, network.memories)}
        )
        other.memories = nn.ModuleList(without)
        turns.append(Turn(other, torch.nonzero(of_held_out == part).flatten()))
    return turns


def with_kind(
    network: MultiScaleMemory,
    normals: Chosen,
    sizes: Sequence[int],
    seed: int,
    *,
    apart: tuple[Tensor, Tensor] | None = None,
) -> tuple[MultiScaleMemory, list[Turn] | None]:
    """Give a network that recalls a further kind of normal too.

    Prototypes join until the places of the new kind are as near to one as those of the fit are, so
    that a kind like those that are known costs little. Distances of what was measured before can
    only shrink where they are large; of places near to a prototype, not all are looked at.

    Args:
        network: In evaluation mode, left as it is.
        normals: Frames of the new kind, which are numbered behind those that are known.
        sizes: Prototypes that join at each scale at most.
        seed: Of the places that are drawn.
        apart: As of :func:`choose_prototypes`.

    Returns:
        The network, and by which networks held-out frames are measured in turn.
    """
    wider = copy.deepcopy(network)
    known = 1 + max(int(memory.origin[:, 0].max()) for memory in wider.place_memories())
    drawn, parts = _drawn_places(network, normals, seed, known), _parts(apart, seed)
    squared = [
        memory.add(places, most, _part_of(places, parts, known))
        for memory, most, places in zip(wider.place_memories(), sizes, drawn, strict=True)
    ]
    return wider, None if parts is None else _turns(wider, drawn, squared, parts, known)


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
def _distances(turns: Sequence[Turn], held_out: Chosen) -> list[list[Tensor]]:
    """Distance of every place to what is recalled, of some 60 frames, a part after the other."""
    most = math.ceil(_MEASURED / len(turns))
    return [
        [each.norm(dim=1).flatten() for each in turn.network.deviations_of(maps)]
        for turn in turns
        for maps in _maps(turn.network, Chosen(held_out, turn.frames).spread(most))
    ]


def leave_out(turns: Sequence[Turn], frames: Tensor) -> None:
    """Let the memories of turns recall nothing of some frames of normals (n,), in place."""
    for turn in turns:
        for memory in turn.network.place_memories():
            own = torch.isin(memory.origin[:, 0].cpu(), frames)
            memory.recall(memory.prototypes[:0], own)


def extract_in_turn(turns: Sequence[Turn], held_out: Chosen) -> Features:
    """Extract the features of held-out normals as a model keeps them.

    Each by the network that has not seen it.
    """
    parts = [extract_set(turn.network, Chosen(held_out, turn.frames)) for turn in turns]
    order = torch.cat([turn.frames for turn in turns]).argsort()
    return Features.joined(parts).at(order).kept()
