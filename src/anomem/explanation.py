"""Why an image has its score: the score of each scale, and where each scale deviates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from anomem.data.shape import ImageShape, to_shape
from anomem.data.sources import open_images
from anomem.network.deviation import MultiScaleMemory, place_norms
from anomem.network.encoder import to_float
from anomem.network.heads import Detector
from anomem.scoring import measure, score_measured
from anomem.shares import shares


@dataclass(frozen=True)
class Explanation:
    """One image explained.

    Attributes:
        score: As ``decision_function`` gives it.
        scale_scores: One-class score of each scale; "scale_1" is the shallowest.
        maps: Deviation map of each scale: the norm of the deviation at each place, H x W float32,
            enlarged to the size of the image given.
        heat: The maps as one, H x W float32: each in multiples of the usual score of training
            normals at its scale, averaged with the weights lambda.
        shares: What each place of each scale adds to the score, H_s x W_s float32; below 0 where a
            place looks more normal than usual.
        rest: What no place has a part in: all shares and the rest are the score.
        recalled: The prototype that each place of each scale recalls most, H_s x W_s int64.
    """

    score: float
    scale_scores: dict[str, float]
    maps: dict[str, npt.NDArray[np.float32]]
    heat: npt.NDArray[np.float32]
    shares: dict[str, npt.NDArray[np.float32]]
    rest: float
    recalled: dict[str, npt.NDArray[np.int64]]


def scale_names(scales: int) -> list[str]:
    """Name of each scale; "scale_1" is the shallowest."""
    return [f"scale_{number + 1}" for number in range(scales)]


@torch.no_grad()
def explain(
    image: object,
    shape: ImageShape,
    network: MultiScaleMemory,
    detector: Detector,
    usual: torch.Tensor,
) -> Explanation:
    """Explain one image.

    Args:
        image: A path, a PIL image, or an array H x W x 3 or H x W.
        shape: Shape that images are brought to.
        network: In evaluation mode.
        detector: In evaluation mode.
        usual: Mean score of training normals at each scale, (S,).
    """
    pixels = _only(image)
    device = network.encoder.mean.device
    prepared = to_float(to_shape(pixels, shape)[None].to(device))
    features = network(prepared)
    deviations = network.deviations_of(features)
    measured = measure(network, prepared)
    divided = shares(network, detector, prepared, measured)
    names = scale_names(len(deviations))
    maps = _enlarged(deviations, pixels.shape[:2])
    multiples = [place / float(level) for place, level in zip(maps, usual, strict=True)]
    return Explanation(
        score=float(score_measured(detector, measured)),
        scale_scores=dict(zip(names, measured.scores[0].tolist(), strict=True)),
        maps=dict(zip(names, maps, strict=True)),
        heat=np.average(multiples, axis=0, weights=detector.lambdas).astype(np.float32),
        shares={n: places.numpy() for n, places in zip(names, divided.maps, strict=True)},
        rest=divided.rest,
        recalled={
            name: memory.weights(places[0].permute(1, 2, 0)).argmax(dim=-1).cpu().numpy()
            for name, memory, places in zip(names, network.scale_memories(), features, strict=True)
        },
    )


def _only(image: object) -> npt.NDArray[np.generic]:
    path = isinstance(image, str | PathLike)
    source = open_images(image if path else [image])
    if len(source) != 1:
        raise ValueError(f"{image} holds {len(source)} images; explain one at a time.")
    return source[0]


def _enlarged(
    deviations: Sequence[torch.Tensor], size: Sequence[int]
) -> list[npt.NDArray[np.float32]]:
    return [
        functional.interpolate(place_norms(d)[:, None], tuple(size), mode="bilinear")[0, 0]
        .cpu()
        .numpy()
        for d in deviations
    ]
