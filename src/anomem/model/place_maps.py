"""What a network sees at each place of images, and what of it is usual."""

from __future__ import annotations

import torch
from torch import Tensor

from anomem.images.image_set import Chosen, batches
from anomem.model.features import forward_passes
from anomem.model.heat import HeatModel, PlaceMaps, new_heat
from anomem.model.network import MultiScaleMemory
from anomem.runtime.device import repeatable_kernels

_MOST_FRAMES = 1000


@repeatable_kernels()
@torch.inference_mode()
def place_maps(network: MultiScaleMemory, images: Tensor, *, deviations: bool = False) -> PlaceMaps:
    """Measure what is seen at each place, on the CPU.

    Where the network looks at the mirror image too, it is the mean of both, brought back.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W), uint8, uint16, or floats in [0, 1].
        deviations: Measure the deviations too; by default there are none.
    """
    parts = []
    for pixels in forward_passes(network, images):
        maps = _place_maps(network, pixels, deviations)
        if network.mirrored:
            mirrored = _place_maps(network, pixels.flip(-1), deviations)
            mirrored = [each.flip(-1) for each in mirrored]
            maps = [(one + other) / 2 for one, other in zip(maps, mirrored, strict=True)]
        parts.append([each.float().cpu() for each in maps])
    found = [torch.cat(each) for each in zip(*parts, strict=True)]
    fine, heads = 1 + int(network.encoder.finer), len(network.patch_heads)
    return PlaceMaps(found[:fine], found[fine : fine + heads], found[fine + heads :])


def _place_maps(network: MultiScaleMemory, pixels: Tensor, deviations: bool) -> list[Tensor]:
    """Fine feature maps, log-odds of patches, and deviation maps."""
    every, finer = network.encoder.every_map(pixels), int(network.encoder.finer)
    scales = network.maps_of(every)
    deviating = network.deviations_of(scales) if deviations else []
    return [*every[: finer + 1], *network.patch_odds(scales), *deviating]


def fit_heat(
    network: MultiScaleMemory, normals: Chosen, held_out: Chosen, *, anywhere: bool
) -> HeatModel:
    """Learn what is usual at each place, from at most 1,000 frames of either kind.

    Args:
        network: In evaluation mode.
        normals: Frames of normals trained on, from which means and spreads are taken.
        held_out: Frames of unseen normals, from which level and width are taken.
        anywhere: Frames lie anywhere in an image, so that all places are one.
    """
    normals, held_out = (part.spread(_MOST_FRAMES) for part in (normals, held_out))
    one = place_maps(network, normals.take(torch.arange(1)))
    model = new_heat(one.features, len(one.odds), anywhere=anywhere)
    for part, learn in ((normals, model.fit), (held_out, model.calibrate)):
        learn(place_maps(network, batch) for _, batch in batches(part))
    return model
