"""Prototypes among test samples, laid out in the plane by t-SNE (Figure 5 of the paper)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.manifold import TSNE
from torch import Tensor

from anomem.detector.estimator import AnoMem
from anomem.images.image_set import batches, floats_on
from anomem.images.prepare import prepare
from anomem.images.source import ImageSource
from anomem_bench.split import Split

KINDS = ("normal test images", "anomalous test images", "prototypes")
_PLACES = 4
"""Places of each map that are drawn, so that no image dominates the picture."""


def prototypes_among_samples(model: AnoMem, split: Split) -> pd.DataFrame:
    """Lay the prototypes of a model out among features of test images.

    Args:
        model: Fitted on the normals of the split; its seed is that of the layout too.
        split: Gives the test images, which are brought to the size of the model.

    Returns:
        A row a point: its ``scale``, from 1, its ``kind`` of :data:`KINDS`, and ``x`` and ``y``.
    """
    tested = (split.test_normals, split.test_anomalies[""])
    good, odd = (_features(model, images) for images in tested)
    scales = []
    for scale, memory in enumerate(model.network_.scale_memories()):
        groups = [good[scale], odd[scale], memory.comparable(memory.prototypes).detach().cpu()]
        where = torch.cat(groups).float().numpy()
        layout = TSNE(metric="cosine", init="random", random_state=model.seed)
        points = pd.DataFrame(layout.fit_transform(where).astype(np.float32), columns=["x", "y"])
        points.insert(0, "scale", scale + 1)
        points.insert(1, "kind", np.repeat(KINDS, [len(group) for group in groups]))
        scales.append(points)
    return pd.concat(scales, ignore_index=True)


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
            some = torch.randperm(places.shape[1], generator=generator)[:_PLACES]
            parts[scale].append(memory.comparable(places[:, some].flatten(0, 1).float()))
    return [torch.cat(part) for part in parts]
