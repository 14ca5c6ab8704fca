"""What memories of places recall: places that labels allow too, and none that they leave out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from anomem.images.image_set import ImageSet, batches
from anomem.model.features import forward_passes
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import k_centre
from anomem.runtime.device import repeatable_kernels

_PLACES = 30
"""Of a labelled normal at each scale (docs/lab-book/recipe.md),"""
_SHARE = 6
"""and of a small map a sixth, as else all of it would be recalled, and anomalies on it."""
_MOST = 4096
"""That a memory recalls, so that a score never takes much longer than without labels."""


def kept_shape(network: MultiScaleMemory) -> tuple[int, int]:
    """Tell how many places of a labelled normal are kept, and their length over all scales."""
    return _PLACES if network.of_places else 0, sum(network.widths)


def no_places(network: MultiScaleMemory) -> Tensor:
    """Keep places of no image, (0, K, sum C_s)."""
    return torch.zeros(0, *kept_shape(network), dtype=torch.float16)


@repeatable_kernels()
@torch.inference_mode()
def deviating_places(network: MultiScaleMemory, frames: ImageSet, image: Tensor) -> Tensor:
    """Find the places of images that deviate most, at each scale by itself.

    Args:
        network: In evaluation mode; without allowed places.
        frames: F frames of N images.
        image: (F,) int64, number of the image of each frame, from 0 to N - 1.

    Returns:
        (N, 30, sum C_s) float16: those of all scales side by side, the most deviating first; where
        a sixth of a map is fewer, they are repeated. (N, 0, sum C_s) where prototypes are learnt.
    """
    count, width = kept_shape(network)
    images = int(image.max()) + 1 if len(image) else 0
    found = torch.zeros(images, count, width, dtype=torch.float16)
    if found.numel() == 0:
        return found
    parts = [_of_batch(network, batch) for _, batch in batches(frames)]
    every = [[torch.cat(e) for e in zip(*scale, strict=True)] for scale in zip(*parts, strict=True)]
    for number in range(images):
        scales = []
        for scale in every:
            distances, places = (each[image == number] for each in scale)
            order = distances.flatten().argsort(descending=True)[:count]
            scales.append(places.flatten(0, 1)[order[torch.arange(count) % len(order)]])
        found[number] = torch.cat(scales, 1)
    return found


def _of_batch(network: MultiScaleMemory, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """At each scale the largest distances of frames (F, K), and their places (F, K, C_s) half."""
    parts = []
    for pixels in forward_passes(network, images):
        views = [network(view.of(pixels)) for view in network.views]
        scales = []
        for memory, maps in zip(network.place_memories(), zip(*views, strict=True), strict=True):
            features = torch.cat([each.permute(0, 2, 3, 1).flatten(1, 2) for each in maps], 1)
            distance = memory.deviation(features).norm(dim=-1)
            most = max(1, min(_PLACES, distance.shape[1] // _SHARE))
            largest, which = distance.topk(most, dim=1)
            chosen = which[..., None].expand(-1, -1, features.shape[2])
            places = memory.comparable(features.gather(1, chosen)).half()
            scales.append((largest.cpu(), places.cpu()))
        parts.append(scales)
    return [
        (torch.cat([largest for largest, _ in scale]), torch.cat([places for _, places in scale]))
        for scale in zip(*parts, strict=True)
    ]


def allowing(
    network: MultiScaleMemory, places: Tensor, dismissed: Tensor | None = None
) -> MultiScaleMemory:
    """Give a network that recalls what labels say, in place of what earlier ones said.

    Of more than 4,096 places a memory takes as many, chosen by k-centre.

    Args:
        network: Left as it is; returned itself where nothing changes.
        places: (N, K, sum C_s) float16, of N labelled normals: recalled beside the prototypes.
        dismissed: Numbers of the frames of the fit of which no prototype is recalled; none by
            default.
    """
    if not network.of_places:
        return network
    parts = [part.contiguous() for part in places.flatten(0, 1).split(network.widths, dim=1)]
    if len(parts[0]) > _MOST:
        parts = [part[k_centre(part.float(), _MOST, first=0).indices] for part in parts]
    gone = torch.zeros(0, dtype=torch.int64) if dismissed is None else dismissed
    memories = network.place_memories()
    left_out = [torch.isin(memory.of_fit[1][:, 0].cpu(), gone) for memory in memories]
    known = (memory.prototypes[len(memory.prototypes) - memory.allowed :] for memory in memories)
    before = [*known, *(memory.left_out for memory in memories)]
    if all(torch.equal(a.cpu(), b) for a, b in zip(before, [*parts, *left_out], strict=True)):
        return network
    other = copy.deepcopy(network)
    for memory, part, out in zip(other.place_memories(), parts, left_out, strict=True):
        memory.recall(part, out)
    return other


def without_allowed(network: MultiScaleMemory) -> MultiScaleMemory:
    """Give the network of the fit, as it was before any image was labelled."""
    return allowing(network, no_places(network))
