"""Normals with anomalies among them: ours, PatchCore and SoftPatch's weights on one frozen encoder.

    pip install -r benchmarks/requirements.txt
    python benchmarks/contaminated.py --sets magnetic_tile transistor --out contaminated.jsonl

Some of a set's anomalies are drawn to stand among the training normals, at each share the first of
the same draw; the others are tested, at every share the same. Each image is seen once by the
encoder, whatever is made of its feature maps. Ours is the memory of places of ``pretrained``, its
score before labels. PatchCore is anomalib's, and SoftPatch's weights are those of Jiang et al.
(NeurIPS 2022), both with a coreset of 1%. ``trimmed`` is ours without the normals that are odd to
memories made of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
import tyro
from torch import Tensor, nn

from anomalib_models import PatchCore, coreset, greedy_in_less_time
from anomem.config.mapping import changed
from anomem.config.presets import resolve
from anomem.evaluation.metrics import auroc
from anomem.images.image_set import Chosen
from anomem.images.prepare import PreparedImages
from anomem.model.encoder import Encoder
from anomem.model.features import extract
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import neighbourhoods
from anomem.training.prototypes import choose_prototypes
from anomem_bench.split import Caps
from draws import Results
from frozen import Pixels, Values, batches
from part_sets import PartSet, part_sets
from parts import encoder_of

_KEPT = 0.01
"""Share of the places in a coreset."""
_NOISE, _NEIGHBOURS = 0.15, 6
"""Share of the places that SoftPatch leaves out, and neighbours of its local outlier factor."""
_FOLDS, _PROTOTYPES, _ODD = 5, 512, 3.5
"""Of ``trimmed``: memories, their prototypes a scale, and the deviations of a normal that leaves,
in standard deviations by the median."""
_FEWEST_HELD_OUT = 19

Score = Callable[[Pixels], Values]


@dataclass(frozen=True)
class Choices:
    """What is measured.

    Attributes:
        sets: As of ``parts.py``.
        out: File of JSON lines; what it holds already is not measured again.
        shares: Of anomalies among the training images.
        draws: Of anomalies, each with a seed of its own.
        most_normals: Most training normals.
        most_tested: Most tested images of each kind, and anomalies to draw from.
    """

    sets: tuple[str, ...]
    out: Path
    shares: tuple[float, ...] = (0.0, 0.02, 0.05)
    draws: int = 3
    most_normals: int = 200
    most_tested: int = 100


class Known(nn.Module):
    """Gives the maps of images that an encoder has seen again.

    Args:
        encoder: The encoder.
        images: All that it will be asked for, (N, H, W, C).
    """

    mean: Tensor

    def __init__(self, encoder: Encoder, images: Pixels) -> None:
        super().__init__()
        self.register_buffer("mean", encoder.mean)
        self.frozen, self.maps = encoder.frozen, {}
        with torch.inference_mode():
            for batch in batches(images):
                every = [maps.contiguous() for maps in encoder.every_map(batch)]
                for image, *maps in zip(batch, *every, strict=True):
                    self.maps[_key(image)] = maps

    def every_map(self, images: Tensor) -> list[Tensor]:
        """As of :class:`~anomem.model.encoder.Encoder`."""
        found = (self.maps[_key(image)] for image in images)
        return [torch.stack(each) for each in zip(*found, strict=True)]


def _key(image: Tensor) -> bytes:
    return image.numpy().tobytes()


class Ours:
    """Memories of places, and the places that deviate most from them.

    Args:
        encoder: Knows all images.
        prototypes: At each scale.
    """

    def __init__(self, encoder: Known, prototypes: int | None = None) -> None:
        config = resolve("pretrained")
        if prototypes is not None:
            config = changed(config, {"memory__sizes": (prototypes, prototypes)})
        network = MultiScaleMemory(config, len(encoder.mean), initialise=False).eval()
        network.encoder = cast(Encoder, encoder)
        self.network, self.lambdas = network, torch.tensor(config.loss.lambdas)

    def fit(self, images: Pixels, held_out: Pixels, seed: int) -> None:
        """Choose prototypes among places of images; distances are measured by those held out."""
        choose_prototypes(self.network, _set(images), _set(held_out), seed)

    def score(self, images: Pixels) -> Values:
        """Scores (N,)."""
        scores = extract(self.network, _set(images).all()).scores
        return (scores @ self.lambdas).double().numpy()


def _set(images: Pixels) -> Chosen:
    return Chosen.of(PreparedImages(torch.from_numpy(images).permute(0, 3, 1, 2)))


def ours(encoder: Known, images: Pixels, seed: int) -> Score:
    """Memories of all images but those held out."""
    order = np.random.default_rng(seed).permutation(len(images))
    held_out = max(_FEWEST_HELD_OUT, round(len(images) / 10))
    method = Ours(encoder)
    method.fit(images[np.sort(order[held_out:])], images[np.sort(order[:held_out])], seed)
    return method.score


def trimmed(encoder: Known, images: Pixels, seed: int) -> Score:
    """Memories of those images that are not odd to memories made of the others."""
    scores = np.empty(len(images))
    order = np.random.default_rng(seed).permutation(len(images))
    for fold in np.array_split(order, _FOLDS):
        others = np.setdiff1d(order, fold)
        method = Ours(encoder, _PROTOTYPES)
        method.fit(images[others], images[np.sort(fold)], seed)
        scores[fold] = method.score(images[fold])
    off = scores - np.median(scores)
    return ours(encoder, images[off < _ODD * 1.4826 * np.median(np.abs(off))], seed)


def patchcore(encoder: Known, images: Pixels, seed: int) -> Score:
    """PatchCore of anomalib."""
    _seed(seed)
    method = PatchCore(cast(Encoder, encoder), _KEPT, greedy_in_less_time, finer=True)
    method.fit(images)
    return method.score


def softpatch(encoder: Known, images: Pixels, seed: int) -> Score:
    """PatchCore without the places that are odd among those at the same place of other images.

    The distance to a place of the coreset is weighed by how odd that is itself.
    """
    _seed(seed)
    places = _places(encoder, images)
    factor = torch.cat([_outlier_factors(part) for part in places.transpose(0, 1).split(64)]).T
    places, factor = places.flatten(0, 1), factor.flatten()
    kept = factor <= factor.quantile(1 - _NOISE)
    places, factor = places[kept], factor[kept]
    chosen = coreset(places, _KEPT)
    return partial(_weighed, encoder, places[chosen], factor[chosen])


def _weighed(encoder: Known, memory: Tensor, weight: Tensor, images: Pixels) -> Values:
    found = []
    for batch in batches(images):
        for image in _places(encoder, batch.permute(0, 2, 3, 1).numpy()):
            distance, nearest = torch.cdist(image, memory).min(dim=1)
            found.append(float((weight[nearest] * distance).max()))
    return np.array(found)


def _places(encoder: Known, images: Pixels) -> Tensor:
    """Places of the finer scale, (N, P, C)."""
    parts = (neighbourhoods(encoder.every_map(batch))[0] for batch in batches(images))
    return torch.cat([part.flatten(2).transpose(1, 2) for part in parts])


def _outlier_factors(places: Tensor) -> Tensor:
    """Local outlier factor (Breunig et al., 2000) of P groups of N places (P, N, C), (P, N)."""
    distance = torch.cdist(places, places)
    distance.diagonal(dim1=1, dim2=2).fill_(math.inf)
    near, index = distance.topk(_NEIGHBOURS, dim=2, largest=False)
    flat = index.flatten(1)
    reach = near.maximum(near[..., -1].gather(1, flat).view_as(near))
    density = 1 / reach.mean(dim=2).clamp(min=1e-6)
    return density.gather(1, flat).view_as(near).mean(dim=2) / density


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # anomalib's random projection draws from NumPy's state


METHODS = {"ours": ours, "trimmed": trimmed, "patchcore-1": patchcore, "softpatch-1": softpatch}


def measure(parts: PartSet, choices: Choices, results: Results) -> None:
    """Measure all methods on a set, at each share and draw."""
    encoder = Known(encoder_of(parts.channels), np.concatenate([parts.normals, parts.tested]))
    odd, good = np.flatnonzero(parts.anomalous), np.flatnonzero(~parts.anomalous & ~parts.copy)
    counts = {share: _among(len(parts.normals), share) for share in choices.shares}
    for draw in range(choices.draws):
        drawn = np.random.default_rng(draw).permutation(odd)
        kept = drawn[max(counts.values()) :]
        for share, count in counts.items():
            images = np.concatenate([parts.normals, parts.tested[drawn[:count]]])
            for name, fitted in METHODS.items():
                cell = {"set": parts.name, "share": share, "draw": draw, "method": name}
                if results.of(**cell):
                    continue
                score = fitted(encoder, images, draw)
                figure = auroc(score(parts.tested[good]), score(parts.tested[kept]))
                told = {"normals": len(parts.normals), "among": count, "tested": len(kept)}
                results.add(cell | told | {"auroc": figure})


def _among(normals: int, share: float) -> int:
    """Anomalies beside so many normals that are this share of both."""
    return round(normals * share / (1 - share))


def table(results: Results) -> pd.DataFrame:
    """A row a set and method, a column a share: means over draws."""
    rows = pd.DataFrame(results.lines)
    return rows.pivot_table(values="auroc", index=["set", "method"], columns="share", sort=False)


def main(choices: Choices) -> None:
    """Measure and print."""
    results = Results(choices.out)
    caps = Caps(choices.most_normals, choices.most_tested)
    for data in choices.sets:
        for parts in part_sets(data, 224, caps, 1):
            measure(parts, choices, results)
    print(f"\nAUROC, means of {choices.draws} draws; {torch.get_num_threads()} threads")
    print(table(results).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main(tyro.cli(Choices, description=__doc__))
