"""The deviations of images, reduced to what the detector reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from anomem.images.image_set import ImageSet, batches, floats_on
from anomem.model.network import MultiScaleMemory
from anomem.model.one_class import one_class_scores
from anomem.runtime.device import free_memory, repeatable_kernels
from anomem.runtime.progress import Progress


@dataclass(frozen=True)
class Features:
    """What is measured of N images.

    Attributes:
        scores: One-class score of each scale, (N, S) float32.
        pooled: Pooled deviations of all scales side by side, (N, sum C_s) float16; those of a scale
            are mean and, where it is pooled, standard deviation over places, of the image upright
            and, where that is measured, upside down.
        evidence: At each scale the log-odds of a labelled anomaly against a normal, as the heads of
            stage 1 tell them apart, (N, S) float32; 0 without such heads.
    """

    scores: Tensor
    pooled: Tensor
    evidence: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, indices: Tensor) -> Features:
        """The images of some indices, or of a mask."""
        return Features(*(getattr(self, field.name)[indices] for field in fields(self)))

    def cpu(self) -> Features:
        """The same on the CPU."""
        return Features(*(getattr(self, field.name).cpu() for field in fields(self)))

    def double(self) -> Features:
        """The same in double precision."""
        return Features(*(getattr(self, field.name).double() for field in fields(self)))

    @staticmethod
    def joined(parts: list[Features]) -> Features:
        """Several sets as one."""
        return Features(
            *(
                torch.cat([getattr(part, field.name) for part in parts])
                for field in fields(Features)
            )
        )


_PIXELS = 2**20
"""Of the images in a forward pass, so that its memory does not grow with their size."""


_PIXELS_OF_A_GPU = 2**23


_BYTES_A_PIXEL = 2**13
"""Of the free memory of a GPU for each pixel in a forward pass: twice what a ResNet-50 takes whose
stem keeps the size of the images."""


@repeatable_kernels()
@torch.inference_mode()
def extract(network: MultiScaleMemory, images: Tensor) -> Features:
    """Measure images.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W), uint8, uint16, or floats in [0, 1].

    Returns:
        Scores and pooled deviations, on the CPU.
    """
    # Only when all is measured does this wait for a GPU.
    return Features.joined(
        [_measure_pass(network, pixels) for pixels in _passes(network, images)]
    ).cpu()


def _passes(network: MultiScaleMemory, images: Tensor) -> Iterator[Tensor]:
    """Images as floats where the network is, as many as go into a forward pass at a time."""
    device = network.encoder.mean.device
    pixels = _PIXELS
    if device.type == "cuda":
        pixels = min(free_memory(device) // _BYTES_A_PIXEL, _PIXELS_OF_A_GPU)
    most = pixels // images[0, 0].numel()
    for part in images.split(max(most, 1)):
        # With strides in one order, as convolutions are rounded otherwise in another.
        yield floats_on(device, part).clone(memory_format=torch.contiguous_format)


def _measure_pass(network: MultiScaleMemory, pixels: Tensor) -> Features:
    views = _views(network, pixels)
    if len(pixels) > 1:
        seen = [_seen(network, view) for view in views]
    else:
        # Matrix libraries have another road for a single row, which rounds otherwise.
        together = _seen(network, torch.cat(views if len(views) > 1 else views * 2))
        seen = [together.at(slice(i, i + 1)) for i in range(len(views))]
    upright = seen[: len(seen) // 2] if network.upside_down else seen
    turned = seen[len(upright) :]
    pooled = [
        torch.cat([torch.stack(scale).mean(dim=0) for scale in side], 1)
        for side in zip(*(_scales(part) for part in (upright, turned) if part), strict=True)
    ]
    return Features(
        torch.stack([each.scores for each in upright]).mean(dim=0),
        torch.cat(pooled, 1).half(),
        torch.stack([each.evidence for each in upright]).mean(dim=0),
    )


@dataclass(frozen=True)
class _Seen:
    """What the network sees of B images as they lie: no mirror image, not turned.

    Attributes:
        scores: (B, S), of each scale.
        pooled: One (B, P_s) a scale.
        evidence: (B, S), log-odds at each scale.
    """

    scores: Tensor
    pooled: list[Tensor]
    evidence: Tensor

    def at(self, images: slice) -> _Seen:
        """Some of the images."""
        pooled = [each[images] for each in self.pooled]
        return _Seen(self.scores[images], pooled, self.evidence[images])


def _seen(network: MultiScaleMemory, pixels: Tensor) -> _Seen:
    maps = network(pixels)
    deviations = network.deviations_of(maps)
    return _Seen(
        one_class_scores(deviations), network.pooled(deviations), network.evidence_of(maps)
    )


def _scales(views: Sequence[_Seen]) -> list[tuple[Tensor, ...]]:
    """What is pooled at each scale of each view."""
    return list(zip(*(view.pooled for view in views), strict=True))


def _views(network: MultiScaleMemory, pixels: Tensor) -> list[Tensor]:
    """Images, and where they are measured too, their mirror images; both upside down after them."""
    upright = [pixels, pixels.flip(3)] if network.mirrored else [pixels]
    return (
        [*upright, *(view.rot90(2, dims=(2, 3)) for view in upright)]
        if network.upside_down
        else upright
    )


def extract_set(
    network: MultiScaleMemory, images: ImageSet, progress: Progress | None = None
) -> Features:
    """Measure all images of a set, at least one."""
    parts = []
    for start, batch in batches(images):
        parts.append(extract(network, batch))
        if progress:
            progress(start + len(batch), len(images))
    return Features.joined(parts)
