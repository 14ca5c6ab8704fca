"""Prototypes among test samples, laid out in the plane by t-SNE (Figure 5 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.manifold import TSNE
from torch import Tensor

from anomem.data.named import Parts
from anomem.data.prepare import prepare
from anomem.data.sources import ImageSource
from anomem.detector import AnoMem
from anomem.evaluation.one_vs_all import OneVsAll
from anomem.network.encoder import to_float
from anomem.presets import resolve
from anomem.scoring import batches

_PLACES = 4
"""Places of each map that are drawn, so that no image dominates the picture."""


@dataclass(frozen=True)
class Layout:
    """Points of each scale in the plane.

    Attributes:
        points: One (N_s, 2) a scale.
        kinds: One (N_s,) a scale: 0 of a normal test image, 1 of an anomalous one, 2 a prototype.
    """

    points: list[npt.NDArray[np.float32]]
    kinds: list[npt.NDArray[np.int64]]

    @property
    def counts(self) -> list[int]:
        """Number of prototypes of each scale."""
        return [int((kind == 2).sum()) for kind in self.kinds]


def prototypes_among_samples(
    parts: Parts,
    normal: str,
    *,
    preset: str,
    seconds: float,
    samples: int,
    seed: int,
    device: str,
) -> Layout:
    """Train on a class, and lay its prototypes out among features of test images.

    Args:
        parts: The data set.
        normal: Name of the normal class.
        preset: Choices of the detector.
        seconds: Wall-clock seconds of stage 1.
        samples: Test images of the normal class, and of all others.
        seed: Of the training and of the layout.
        device: As of :class:`~anomem.AnoMem`.

    Raises:
        ValueError: There is no such class or preset.
    """
    protocol = OneVsAll("", parts, (normal,), most_tested=samples)
    (cell,) = protocol.cells()
    split = protocol.split(replace(cell, draw=seed))
    config = resolve(preset)
    stage1 = replace(config.stage1, max_seconds=seconds, max_steps=None, min_steps=10**9)
    model = AnoMem(replace(config, stage1=stage1), device=device, seed=seed).fit(split.normals)
    sets = [
        _features(model, images, seed) for images in (split.test_normals, split.test_anomalies[""])
    ]
    points, kinds = [], []
    for scale, memory in enumerate(model.network_.scale_memories()):
        parts_ = [sets[0][scale], sets[1][scale], memory.place(memory.prototypes).detach().cpu()]
        where = torch.cat([part.flatten(1) for part in parts_]).float().numpy()
        layout = TSNE(metric="cosine", init="random", random_state=seed).fit_transform(where)
        points.append(layout.astype(np.float32))
        kinds.append(np.repeat([0, 1, 2], [len(part) for part in parts_]))
    return Layout(points, kinds)


@torch.inference_mode()
def _features(model: AnoMem, images: ImageSource, seed: int) -> list[Tensor]:
    """Features (N, C) of some places of each image, one a scale, where the memory compares them."""
    network = model.network_
    memories = list(network.scale_memories())
    parts: list[list[Tensor]] = [[] for _ in memories]
    generator = torch.Generator().manual_seed(seed)
    for _, batch in batches(prepare(images, model.shape_)):
        maps = network(to_float(batch.to(network.encoder.mean.device)))
        for scale, (memory, features) in enumerate(zip(memories, maps, strict=True)):
            places = features.flatten(2).transpose(1, 2).cpu()
            count = places.shape[1]
            some = torch.randperm(count, generator=generator)[:_PLACES]
            parts[scale].append(memory.place(places[:, some].flatten(0, 1).float()))
    return [torch.cat(part) for part in parts]
