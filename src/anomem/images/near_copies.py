"""Near copies: one photograph again, re-saved, shifted by a pixel or a little brighter."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from anomem.images.image_set import ImageSet, to_float

_SIDE = 32
_FEWEST_NUMBERS = 100
"""Of a thumbnail: below, images that differ agree by chance."""
_SHIFTS = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2), (0, 0), (0, 2), (2, 0), (2, 2)]
_IN_COMMON = 20
_NEIGHBOURS = 10
_ALIKE = 0.85
_NEARER = 0.15
_RUN = 10_000
_AT_A_TIME = 500


def near_copies(images: ImageSet) -> npt.NDArray[np.int64]:
    """Number images so that near copies of one another share a number.

    Photographs of distinct parts share what all parts have, and neither grain nor detail; near
    copies share these. So of small thumbnails the mean of the set and the directions in which it
    varies most are taken away. Two images are near copies if one of them, shifted by up to a pixel
    of a frame in any direction, explains at least 85% of what is left of the other, and leaves at
    most 15% of what the tenth nearest image leaves. Of more than 10,000 images each is compared
    with those of its run of 10,000. Frames of fewer than 24 pixels a side are not compared.

    Returns:
        (N,) 0 to the number of different images, less 1.
    """
    runs = torch.arange(len(images)).split(_RUN)
    pairs = [part[_pairs(_thumbnails(images, part))] for part in runs]
    one, other = torch.cat(pairs).T.numpy()
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(len(images), len(images)))
    return cast("npt.NDArray[np.int64]", connected_components(graph, directed=False)[1])


def _thumbnails(images: ImageSet, indices: Tensor) -> Tensor:
    """Thumbnails of images in grey, as they are and shifted, (N, 9, numbers) of mean 0 and std 1.

    The first are not shifted; the outermost numbers, where a shift has nothing to show, are cut.
    """
    parts = []
    for batch in indices.split(_AT_A_TIME):
        grey = to_float(images.take(batch)).mean(dim=1, keepdim=True)
        height, width = grey.shape[2:]
        size = (_small(height), _small(width))
        padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
        shifted = [padded[:, :, y : y + height, x : x + width] for y, x in _SHIFTS]
        small = [functional.adaptive_avg_pool2d(each, size)[:, 0, 1:-1, 1:-1] for each in shifted]
        parts.append(torch.stack([each.flatten(1) for each in small], 1))
    thumbnails = torch.cat(parts)
    centred = thumbnails - thumbnails.mean(dim=2, keepdim=True)
    # What a flat image has of structure is rounding.
    return centred / centred[:, :1].std(dim=2, keepdim=True).clamp(min=1 / 255)


def _small(side: int) -> int:
    """Side of a thumbnail: at most half of that of the frame, so that a shift is less than one."""
    return min(_SIDE, max(side // 2, 8))


def _pairs(thumbnails: Tensor) -> Tensor:
    """Pairs of near copies, (P, 2), of thumbnails (N, 9, numbers)."""
    count, _, numbers = thumbnails.shape
    nearest = min(_NEIGHBOURS, count // 2)
    if nearest < 2 or numbers < _FEWEST_NUMBERS:
        return torch.zeros((0, 2), dtype=torch.int64)
    own = _without_common(thumbnails)
    unit = functional.normalize(own[:, 0], dim=1)
    found = []
    for part in torch.arange(count).split(_AT_A_TIME):
        likeness = (unit[part] @ unit.T).square()
        likeness[torch.arange(len(part)), part] = -1
        candidates = likeness.topk(nearest, dim=1).indices
        basis = torch.linalg.qr(own[part].transpose(1, 2)).Q
        explained = (unit[candidates] @ basis).square().sum(dim=2)
        left = 1 - explained
        copies = (explained > _ALIKE) & (left < _NEARER * left.max(dim=1, keepdim=True).values)
        row, column = copies.nonzero(as_tuple=True)
        found.append(torch.stack([part[row], candidates[row, column]], 1))
    return torch.cat(found)


def _without_common(thumbnails: Tensor) -> Tensor:
    """What thumbnails have beside what is common: the mean, and the directions of most spread."""
    centred = thumbnails - thumbnails[:, 0].mean(dim=0)
    plain = centred[:, 0].double()
    most = min(len(plain) // 8, _IN_COMMON)
    # The same directions by the smaller of the two products.
    if len(plain) < plain.shape[1]:
        weights = torch.linalg.eigh(plain @ plain.T).eigenvectors[:, len(plain) - most :]
        common = functional.normalize(plain.T @ weights, dim=0).float()
    else:
        spread = torch.linalg.eigh(plain.T @ plain).eigenvectors.float()
        common = spread[:, len(spread) - most :]
    return centred - centred @ common @ common.T
