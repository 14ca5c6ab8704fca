"""The detector as a contender: trained step by step, on the road of ``AnoMem.fit``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from anomem.config import Config
from anomem.detector.feature_bank import fill_bank
from anomem.detector.fit import new_stage1
from anomem.detector.hold_out import hold_out
from anomem.detector.identity import Identities
from anomem.detector.new_network import new_network
from anomem.detector.score import score_features
from anomem.detector.train_scorer import train_scorer
from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import Chosen, ImageSet, batches, floats_on
from anomem.images.resize import ImageShape
from anomem.model.features import extract_set
from anomem.model.memory import HopfieldMemory
from anomem.model.network import MultiScaleMemory
from anomem.runtime.device import make_fabric
from anomem.training.optimisation import Clock

Memory = Literal["learnt", "kmeans", "mean"]


class Ours:
    """The detector with a configuration.

    Args:
        name: Of its score.
        config: Every choice.
        device: As of :class:`~anomem.AnoMem`.
        seed: Of every random draw.
        memory: The learnt memory; or none while training, and in its place afterwards the k-means
            centroids of the features of training normals, or their mean alone.
    """

    def __init__(
        self, name: str, config: Config, *, device: str, seed: int, memory: Memory = "learnt"
    ) -> None:
        self.score_names, self.config, self.device = (name,), config, device
        self.seed, self.memory = seed, memory

    def begin(
        self, normals: ImageSet, anomalies: ImageSet | None, shape: ImageShape, clock: Clock
    ) -> Iterator[int]:
        """Hold normals out, initialise and train stage 1."""
        split = hold_out(len(normals), self.config.calibration.share, self.seed)
        chosen = TrainingImages.of(
            normals,
            torch.arange(len(normals)),
            np.zeros(len(normals), dtype=np.int64),
            split,
            Identities.numbered(len(normals)),
        )
        if anomalies is not None:
            chosen = replace(chosen, anomalies=Chosen.of(anomalies))
        self.images = chosen
        fabric = make_fabric(self.device, self.config.compute.precision)
        self.network = new_network(self.config, shape, self.images.normals, fabric, self.seed)
        if self.memory != "learnt":
            remove_memories(self.network)
        self.stage1 = new_stage1(
            self.network, self.images, self.config, fabric=fabric, seed=self.seed
        )
        self.stage1.clock = clock
        yield from self.stage1

    def finish(self) -> None:
        """Fill the bank and train stage 2."""
        self.scored = self.stage1.trained()
        if self.memory != "learnt":
            sizes = self.config.memory.sizes
            if self.memory == "mean":
                sizes = (1,) * len(sizes)
            self.scored = with_centroids(
                self.scored, self.images.normals, self.config, self.seed, sizes
            )
        bank = fill_bank(self.scored, self.images)
        widths = self.network.pooled_widths
        self.scorer = train_scorer(bank, widths, self.config, self.seed)

    def scores(self, images: ImageSet) -> dict[str, npt.NDArray[np.float32]]:
        """The score of the detector."""
        measured = extract_set(self.scored, images)
        return {self.score_names[0]: score_features(self.scorer, measured).numpy()}

    @torch.inference_mode()
    def features(self, images: ImageSet) -> Tensor:
        """Features (N, C) of the encoder: its last map, averaged over its places, on the CPU."""
        encoder = self.scored.encoder
        device = encoder.mean.device
        parts = [encoder(floats_on(device, b))[-1].mean(dim=(2, 3)) for _, b in batches(images)]
        return torch.cat(parts).float().cpu()


class NoMemory(HopfieldMemory):
    """In place of the memory while training: every feature is its own recollection."""

    def forward(self, query: Tensor) -> Tensor:
        """The query, where the memory would compare it."""
        return self.place(query.float())


def remove_memories(network: MultiScaleMemory) -> None:
    """Take the memories out of the network, keeping their sizes and retrieval."""
    for index, memory in enumerate(list(network.scale_memories())):
        network.memories[index] = _like(memory, NoMemory, 1).requires_grad_(False)


@torch.no_grad()
def with_centroids(
    network: MultiScaleMemory,
    normals: ImageSet,
    config: Config,
    seed: int,
    sizes: Sequence[int],
) -> MultiScaleMemory:
    """The network with memories of k-means centroids of features of normals.

    Args:
        network: Left as it is.
        normals: Training normals.
        config: That of the network.
        seed: Of the clustering.
        sizes: Number of centroids of each scale; 1 leaves the mean, which is to have no memory.
    """
    network.eval()
    device = network.encoder.mean.device
    parts = [
        [features.cpu() for features in network(floats_on(device, batch))]
        for _, batch in batches(normals)
    ]
    result = copy.deepcopy(network)
    for index, memory in enumerate(list(network.scale_memories())):
        features = torch.cat([part[index].permute(0, 2, 3, 1).flatten(0, 2) for part in parts])
        places = memory.place(features)
        means = MiniBatchKMeans(sizes[index], random_state=seed, n_init=1, batch_size=4096)
        learnt = _like(memory, HopfieldMemory, sizes[index])
        learnt.prototypes.copy_(torch.from_numpy(means.fit(places.numpy()).cluster_centers_))
        result.memories[index] = learnt.to(device)
    return result


def _like(memory: HopfieldMemory, kind: type[HopfieldMemory], size: int) -> HopfieldMemory:
    return kind(
        size,
        memory.prototypes.shape[1],
        beta=memory.beta,
        steps=memory.steps,
        unit_norm=memory.unit_norm,
    )
