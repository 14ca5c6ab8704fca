"""The features of images: what the scorer reads of their deviations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from anomem.images.image_set import ImageSet, batches, floats_on
from anomem.model.heat import HeatModel, most_unusual
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import LARGEST_HALF
from anomem.runtime.device import free_memory, repeatable_kernels

_PIXELS = 2**20
"""Of the images in a forward pass, so that its memory does not grow with their size."""
_FROZEN = 8
"""Images in a pass of a frozen encoder on a CPU: with one thread, oneDNN rounds 16 and more images
of 224 pixels otherwise than fewer."""
_PIXELS_OF_A_GPU = 2**23
_BYTES_A_PIXEL = 2**13
"""Of the free memory of a GPU for each pixel in a forward pass: twice what a ResNet-50 takes whose
stem keeps the size of the images."""


@dataclass(frozen=True)
class Features:
    """Holds what the scorer reads of N images.

    Attributes:
        scores: One-class score of each scale, (N, S) float32.
        pooled: Pooled deviations of all scales side by side, (N, sum C_s) float32, or float16 where
            a model with memories of places keeps them; those of a scale are mean and, where it is
            pooled, standard deviation over places (with memories of places also the mean over those
            that deviate most), of the image upright and, where the network looks at that too,
            upside down. With memories of places the direction of the whole image stands behind
            them (:meth:`~anomem.model.network.MultiScaleMemory.direction`).
        evidence: At each scale the log-odds of a labelled anomaly against a normal, as the heads of
            stage 1 tell them apart, (N, S) float32; 0 without such heads.
        beside: How unusual the ten places are that are most so, (N,) float32, see
            :func:`~anomem.model.heat.most_unusual`; 0 where the score does not rest on them. Of
            held-out normals of a model with memories of places, how far the whole image is
            (:class:`~anomem.model.whole_image.WholeImages`).
    """

    scores: Tensor
    pooled: Tensor
    evidence: Tensor
    beside: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, indices: Tensor) -> Features:
        """Choose the images of some indices, or of a mask."""
        return self._each(lambda tensor: tensor[indices])

    def cpu(self) -> Features:
        """Bring all to the CPU."""
        return self._each(Tensor.cpu)

    def double(self) -> Features:
        """Bring all to double precision."""
        return self._each(Tensor.double)

    def kept(self) -> Features:
        """Bring what is pooled to half precision, as a model with memories of places keeps it."""
        pooled = self.pooled.clamp(-LARGEST_HALF, LARGEST_HALF).half()
        return replace(self, pooled=pooled)

    @staticmethod
    def joined(parts: list[Features]) -> Features:
        """Join several sets into one."""
        names = [field.name for field in fields(Features)]
        return Features(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Features:
        return Features(*(change(getattr(self, field.name)) for field in fields(Features)))


@repeatable_kernels()
@torch.inference_mode()
def extract(
    network: MultiScaleMemory,
    images: Tensor,
    inside: Tensor | None = None,
    usual: Sequence[HeatModel] = (),
) -> Features:
    """Extract the features of images, on the CPU.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W), uint8, uint16, or floats in [0, 1].
        inside: Pixels (B, H, W) bool, some of each image, among which alone the places that deviate
            most may lie; None is everywhere.
        usual: What is usual at their places, for each kind of normal, where the score rests on
            that too; none by default.
    """
    parts, start = [], 0
    for pixels in forward_passes(network, images):
        part = None if inside is None else inside[start : start + len(pixels)].to(pixels.device)
        parts.append(_extract(network, pixels, part, usual))
        start += len(pixels)
    # Only when all is extracted does this wait for a GPU.
    return Features.joined(parts).cpu()


def extract_set(
    network: MultiScaleMemory,
    images: ImageSet,
    inside: Tensor | None = None,
    usual: Sequence[HeatModel] = (),
) -> Features:
    """Extract the features of all images of a set, at least one, on the CPU."""
    parts = []
    for start, batch in batches(images):
        part = None if inside is None else inside[start : start + len(batch)]
        parts.append(extract(network, batch, part, usual))
    return Features.joined(parts)


def forward_passes(network: MultiScaleMemory, images: Tensor) -> Iterator[Tensor]:
    """Yield images as floats where the network is, as many as go into a forward pass at a time."""
    device = network.encoder.mean.device
    pixels = _PIXELS
    if device.type == "cuda":
        pixels = min(free_memory(device) // _BYTES_A_PIXEL, _PIXELS_OF_A_GPU)
    most = max(pixels // images[0, 0].numel(), 1)
    if network.encoder.frozen and device.type != "cuda":
        most = min(most, _FROZEN)
    for part in images.split(most):
        # With strides in one order, as convolutions are rounded otherwise in another.
        yield floats_on(device, part).clone(memory_format=torch.contiguous_format)


def _extract(
    network: MultiScaleMemory,
    pixels: Tensor,
    inside: Tensor | None,
    usual: Sequence[HeatModel],
) -> Features:
    views = [view.of(pixels) for view in network.views]
    marked = [None if inside is None else view.of(inside[:, None])[:, 0] for view in network.views]
    if len(pixels) > 1:
        seen = [_of_view(network, *both) for both in zip(views, marked, strict=True)]
    else:
        # Matrix libraries have another road for a single row, which rounds otherwise.
        times = 1 if len(views) > 1 else 2
        marks = None if inside is None else torch.cat([m for m in marked * times if m is not None])
        together = _of_view(network, torch.cat(views * times), marks)
        seen = [[tensor[i : i + 1] for tensor in together] for i in range(len(views))]
    return of_views(network, seen, usual)


def of_views(
    network: MultiScaleMemory, seen: Sequence[Sequence[Tensor]], usual: Sequence[HeatModel] = ()
) -> Features:
    """Join what is seen (:func:`of_maps`) in each view of the same images, in their order."""
    sides = 2 if network.mirrored else 1
    upright, *turned = (
        [torch.stack(both).mean(dim=0) for both in zip(*(each[1:] for each in part), strict=True)]
        for part in (seen[i : i + sides] for i in range(0, len(seen), sides))
    )
    scores, evidence, *pooled = upright
    scales = zip(pooled, *(each[2:] for each in turned), strict=True)
    values = torch.cat([torch.cat(scale, 1) for scale in scales], 1)
    beside = torch.zeros_like(scores[:, 0])
    if usual:
        finest = finest_of(network, [each[0] for each in seen])
        beside = most_unusual(usual, finest)[0].mean(dim=1).float().to(beside.device)
    return Features(scores, values, evidence, beside)


def finest_of(network: MultiScaleMemory, views: Sequence[Tensor]) -> Tensor:
    """Average the finest map of the upright views of images, brought back, (B, C, H, W)."""
    upright = [
        view.undone(each.float().cpu())
        for view, each in zip(network.views, views, strict=True)
        if not view.turned
    ]
    return torch.stack(upright).mean(dim=0)


def _of_view(network: MultiScaleMemory, pixels: Tensor, inside: Tensor | None) -> list[Tensor]:
    return of_maps(network, network.encoder.every_map(pixels), inside)


def of_maps(
    network: MultiScaleMemory, every: Sequence[Tensor], inside: Tensor | None = None
) -> list[Tensor]:
    """Give what features are made of, of all maps of the encoder.

    Returns:
        The finest map, scores (B, S), evidence (B, S), what is pooled at each scale, (B, P_s), and
        with memories of places the direction, (B, D).
    """
    maps = network.maps_of(every)
    deviations = network.deviations_of(maps)
    distances = network.relative_distances(deviations)
    scores, evidence = network.scale_scores(deviations, distances), network.evidence_of(maps)
    pooled = network.pooled(deviations, inside, distances)
    whole = [network.direction(maps)] if network.of_places else []
    return [every[0], scores, evidence, *pooled, *whole]
