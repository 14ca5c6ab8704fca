"""Prototypes among test samples, laid out in the plane by t-SNE (Figure 5 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.manifold import TSNE
from torch import Tensor

from anomem.detector.estimator import AnoMem
from anomem.images.image_set import batches, floats_on
from anomem.images.prepare import prepare
from anomem.images.source import ImageSource
from anomem_bench.split import Split

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


def prototypes_among_samples(model: AnoMem, split: Split) -> Layout:
    """Lay the prototypes of a model out among features of test images.

    Args:
        model: Fitted on the normals of the split; its seed is that of the layout too.
        split: Gives the test images, which are brought to the size of the model.
    """
    tested = (split.test_normals, split.test_anomalies[""])
    good, odd = (_features(model, images) for images in tested)
    points, kinds = [], []
    for scale, memory in enumerate(model.network_.scale_memories()):
        own = memory.place(memory.prototypes).detach().cpu()
        groups = [good[scale], odd[scale], own]
        where = torch.cat(groups).float().numpy()
        layout = TSNE(metric="cosine", init="random", random_state=model.seed)
        points.append(layout.fit_transform(where).astype(np.float32))
        kinds.append(np.repeat([0, 1, 2], [len(group) for group in groups]))
    return Layout(points, kinds)


@torch.inference_mode()
def _features(model: AnoMem, images: ImageSource) -> list[Tensor]:
    """Features (N, C) of some places of each image, one a scale, where the memory compares them."""
    network = model.network_
    memories = list(network.scale_memories())
    parts: list[list[Tensor]] = [[] for _ in memories]
    generator = torch.Generator().manual_seed(model.seed)
    for _, batch in batches(prepare(images, model.framing_.shape)):
        maps = network(floats_on(network.encoder.mean.device, batch))
        for scale, (memory, features) in enumerate(zip(memories, maps, strict=True)):
            places = features.flatten(2).transpose(1, 2).cpu()
            count = places.shape[1]
            some = torch.randperm(count, generator=generator)[:_PLACES]
            parts[scale].append(memory.place(places[:, some].flatten(0, 1).float()))
    return [torch.cat(part) for part in parts]
