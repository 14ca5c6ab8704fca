"""Images to measures to scores, batch by batch."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.data.framing import Framing, frame
from anomem.data.joined import choose
from anomem.data.prepare import read
from anomem.data.sources import ImageSource
from anomem.device import free_memory, keep_freed_memory
from anomem.network.deviation import MultiScaleMemory, one_class_scores
from anomem.network.encoder import floats_on
from anomem.network.heads import Detector
from anomem.network.measured import Measured
from anomem.network.places import PlaceMaps
from anomem.training.batches import ImageSet
from anomem.training.stage1 import Progress

BATCH = 256
_CUT = 4
"""Images in memory at a time where each is cut into tiles."""
_PIXELS = 2**20
"""Of the images in a forward pass, so that its memory does not grow with their size."""
_PIXELS_OF_A_GPU = 2**23
_BYTES_A_PIXEL = 2**13
"""Of the free memory of a GPU for each pixel in a forward pass: twice what a ResNet-50 takes whose
stem keeps the size of the images."""


@dataclass(frozen=True)
class Scores:
    """Scores of the images that could be read, and why the others could not.

    Attributes:
        score: (N,) float32, NaN where the image could not be read.
        scale_scores: (N, S) float32, one-class score of each scale, of the frame with the score.
        errors: For each index that could not be read, the sentence that says why.
    """

    score: npt.NDArray[np.float32]
    scale_scores: npt.NDArray[np.float32]
    errors: dict[int, str]


@torch.inference_mode()
def measure(network: MultiScaleMemory, images: Tensor) -> Measured:
    """Measure images.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W), uint8, uint16, or floats in [0, 1].

    Returns:
        Scores and pooled deviations, on the CPU.
    """
    # Only when all is measured does this wait for a GPU.
    return Measured.joined(
        [_measure_pass(network, pixels) for pixels in _passes(network, images)]
    ).cpu()


def _passes(network: MultiScaleMemory, images: Tensor) -> Iterator[Tensor]:
    """Images as floats where the network is, as many as go into a forward pass at a time."""
    keep_freed_memory()
    device = network.encoder.mean.device
    pixels = _PIXELS
    if device.type == "cuda":
        pixels = min(free_memory(device) // _BYTES_A_PIXEL, _PIXELS_OF_A_GPU)
    most = pixels // images[0, 0].numel()
    for part in images.split(max(most, 1)):
        # With strides in one order, as convolutions are rounded otherwise in another.
        yield floats_on(device, part).clone(memory_format=torch.contiguous_format)


def _measure_pass(network: MultiScaleMemory, pixels: Tensor) -> Measured:
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
    return Measured(
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


@torch.inference_mode()
def place_maps(network: MultiScaleMemory, images: Tensor) -> PlaceMaps:
    """What is seen at each place, on the CPU.

    The mean of that of the image and, where it is measured too, of its mirror image, brought back.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W), uint8, uint16, or floats in [0, 1].
    """
    parts = []
    for pixels in _passes(network, images):
        maps = _place_maps(network, pixels)
        if network.mirrored:
            mirrored = [each.flip(-1) for each in _place_maps(network, pixels.flip(-1))]
            maps = [(one + other) / 2 for one, other in zip(maps, mirrored, strict=True)]
        parts.append([each.float().cpu() for each in maps])
    found = [torch.cat(each) for each in zip(*parts, strict=True)]
    fine, heads = 1 + int(network.encoder.finer), len(network.patch_heads)
    return PlaceMaps(found[:fine], found[fine : fine + heads], found[fine + heads :])


def _place_maps(network: MultiScaleMemory, pixels: Tensor) -> list[Tensor]:
    """Fine feature maps, log-odds of patches, and deviation maps."""
    every, finer = network.encoder.every_map(pixels), int(network.encoder.finer)
    scales = every[finer:]
    return [*every[: finer + 1], *network.patch_odds(scales), *network.deviations_of(scales)]


def measure_set(
    network: MultiScaleMemory, images: ImageSet, progress: Progress | None = None
) -> Measured:
    """Measure all images of a set, at least one."""
    parts = []
    for start, batch in batches(images):
        parts.append(measure(network, batch))
        if progress:
            progress(start + len(batch), len(images))
    return Measured.joined(parts)


def batches(images: ImageSet) -> Iterator[tuple[int, Tensor]]:
    """All images of a set in order, a batch at a time, with the index of its first."""
    for start in range(0, len(images), BATCH):
        yield start, images.take(torch.arange(start, min(start + BATCH, len(images))))


def digests(images: Tensor) -> Tensor:
    """A 63-bit digest of the pixels of each image (B, C, H, W), (B,) int64.

    Taken at 16 bits, so that it is the same beside images of either depth.
    """
    if images.dtype == torch.uint8:
        images = images.to(torch.int32).mul_(257).to(torch.uint16)
    return torch.tensor(
        [
            int.from_bytes(hashlib.blake2b(image.numpy().tobytes(), digest_size=8).digest(), "big")
            >> 1
            for image in images.contiguous().cpu()
        ],
        dtype=torch.int64,
    )


def sums_by_image(digest: Tensor, image: Tensor, count: int) -> Tensor:
    """Digest of each of so many images, (count,) int64: the sum of those of its frames.

    Args:
        digest: (F,) int64, of the frames.
        image: (F,) int64, number of the image of each.
        count: Of the images.
    """
    total = torch.zeros(count, dtype=torch.int64)
    total.index_add_(0, image, digest)
    return total & torch.iinfo(torch.int64).max


@torch.inference_mode()
def score_measured(detector: Detector, measured: Measured) -> Tensor:
    """Score (N,) float32 of measured images: of each the same beside any others.

    How a product of matrices is rounded depends on its shape; in double precision, rounded to
    single at the end, none of it is left.
    """
    exact: Tensor = copy.deepcopy(detector).double()(measured.double())
    return exact.float()


def highest_frames(scores: Tensor, image: Tensor) -> Tensor:
    """The frame of each image that scores highest.

    Args:
        scores: (F,).
        image: (F,) number of the image of each frame.

    Returns:
        Indices of frames (N,), in the order of the numbers.
    """
    order = np.lexsort((-scores.numpy(), image.numpy()))
    _, first = np.unique(image.numpy()[order], return_index=True)
    return torch.from_numpy(order[first])


@dataclass(frozen=True)
class MeasuredPart:
    """Some images of a source, measured.

    Attributes:
        images: Their indices in the source.
        measured: F frames; None where no image could be read.
        image: (F,) int64, index in the source of the image of each frame.
        errors: For each index that could not be read, the sentence that says why.
        digest: Digest of the pixels of each image, in their order; None where not asked for.
    """

    images: range
    measured: Measured | None
    image: Tensor
    errors: dict[int, str]
    digest: Tensor | None


def measure_source(
    network: MultiScaleMemory,
    source: ImageSource,
    framing: Framing,
    progress: Progress | None = None,
    *,
    digested: bool = False,
) -> Iterator[MeasuredPart]:
    """Read and measure all images of a source, a batch in memory at a time.

    Args:
        network: In evaluation mode.
        source: The images.
        framing: How they become frames.
        progress: Called with the images measured and in all.
        digested: Whether digests of their pixels are wanted too.
    """
    total, step = len(source), _CUT if framing.cuts else BATCH
    for start in range(0, total, step):
        stop = min(start + step, total)
        framed = frame(choose(source, np.arange(start, stop)), framing)
        batch = read(framed.frames, range(len(framed.frames)), framing.shape)
        errors = {start + int(framed.image[index]): why for index, why in batch.errors.items()}
        image = torch.from_numpy(start + framed.image[batch.kept])
        measured = measure(network, batch.images) if batch.kept else None
        digest = None
        if digested:
            digest = sums_by_image(digests(batch.images), image - start, stop - start)
        yield MeasuredPart(range(start, stop), measured, image, errors, digest)
        if progress:
            progress(stop, total)


def score_source(
    network: MultiScaleMemory,
    detector: Detector,
    source: ImageSource,
    framing: Framing,
    progress: Progress | None = None,
) -> Iterator[tuple[range, Scores]]:
    """Read, measure and score all images of a source, a batch in memory at a time.

    The score of an image is the highest of its frames; one that is not finite is an error.

    Yields:
        Indices of a batch, and its scores; errors are numbered from its first image.
    """
    for part in measure_source(network, source, framing, progress):
        yield part.images, score_part(detector, part, source.names)


def score_part(detector: Detector, part: MeasuredPart, names: Sequence[str]) -> Scores:
    """Scores of a batch; errors are numbered from its first image.

    Args:
        detector: In evaluation mode.
        part: The batch.
        names: Of all images of its source.
    """
    first, count = part.images.start, len(part.images)
    scale_scores = torch.full((count, len(detector.lambdas)), torch.nan)
    score = torch.full((count,), torch.nan)
    errors = {index - first: why for index, why in part.errors.items()}
    if part.measured is not None:
        scores = score_measured(detector, part.measured)
        highest = highest_frames(scores, part.image)
        score[part.image[highest] - first] = scores[highest]
        scale_scores[part.image[highest] - first] = part.measured.scores[highest]
        finite = scores.isfinite() & part.measured.scores.isfinite().all(dim=1)
        for index in (part.image[~finite].unique() - first).tolist():
            score[index], scale_scores[index] = torch.nan, torch.nan
            errors[index] = (
                f"{names[first + index]}: the score is not finite; "
                "the model is damaged, fit it again."
            )
    return Scores(score.numpy(), scale_scores.numpy(), errors)


def joined_scores(parts: Iterable[tuple[range, Scores]]) -> Scores:
    """Scores of all batches as one, at least one."""
    every = list(parts)
    return Scores(
        np.concatenate([scores.score for _, scores in every]),
        np.concatenate([scores.scale_scores for _, scores in every]),
        {
            images.start + index: why
            for images, scores in every
            for index, why in scores.errors.items()
        },
    )
