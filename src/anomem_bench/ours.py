"""The detector as a contender: trained step by step, on the road of ``AnoMem.fit``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from anomem.config import Config
from anomem.config.mapping import changed
from anomem.detector.detector import usual_of
from anomem.detector.feature_bank import fill_bank
from anomem.detector.fit import begin_prototypes, new_stage1
from anomem.detector.hold_out import hold_out
from anomem.detector.identity import Identities
from anomem.detector.new_network import new_network
from anomem.detector.score import score_features
from anomem.detector.train_scorer import train_scorer
from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import Chosen, ImageSet, batches, floats_on
from anomem.model.features import extract_set
from anomem.model.memory import HopfieldMemory
from anomem.model.network import MultiScaleMemory
from anomem.model.place_maps import fit_heat
from anomem.runtime.device import make_fabric
from anomem.training.optimisation import Clock
from anomem.training.prototypes import choose_prototypes
from anomem_bench.contender import Contender, Scores, TrainingSet
from anomem_bench.peers.peer import PeerNetwork

Memory = Literal["learnt", "kmeans", "mean"]


class Ours(Contender):
    """Trains the detector with a configuration.

    Args:
        config: Name of a preset, or every choice.
        device: As of :class:`~anomem.AnoMem`.
        seed: Of every random draw.
        name: Of its score.
        memory: The learnt memory; or none while training, and in its place afterwards the k-means
            centroids of the features of training normals, or their mean alone; no whole
            image is then remembered either, and labels count by heads alone.
    """

    def __init__(
        self,
        config: str | Config = "scratch",
        *,
        device: str = "auto",
        seed: int = 0,
        name: str = "ours",
        memory: Memory = "learnt",
    ) -> None:
        super().__init__(config, device=device, seed=seed)
        self.score_names, self.memory = (name,), memory
        if memory != "learnt":
            self.config = changed(self.config, {"score__neighbours": 0})

    def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:
        """Hold normals out, initialise and train stage 1."""
        count = len(images.normals)
        chosen = TrainingImages.of(
            images.normals,
            torch.arange(count),
            np.zeros(count, dtype=np.int64),
            hold_out(count, self.config.calibration.share, self.seed),
            Identities.numbered(count),
        )
        if images.anomalies is not None:
            chosen = replace(chosen, anomalies=Chosen.of(images.anomalies))
        self.images, self.shape_ = chosen, images.shape
        fabric = make_fabric(self.device, self.config.compute.precision)
        network = new_network(self.config, images.shape, chosen.normals, fabric, self.seed)
        self.network_ = network
        if network.of_places:
            choose_prototypes(network, chosen.normals, chosen.held_out, self.seed)
            return
        if self.memory == "learnt":
            begin_prototypes(network, chosen, self.config, fabric=fabric, seed=self.seed)
        else:
            remove_memories(network)
        self.stage1 = new_stage1(network, chosen, self.config, fabric=fabric, seed=self.seed)
        self.stage1.clock, self.stage1.name = clock, self.score_names[0]
        yield from self.stage1

    def finish(self) -> None:
        """Fill the bank and train stage 2."""
        if not self.network_.of_places:
            self.network_ = self.stage1.trained()
        if self.memory != "learnt":
            sizes = self.config.memory.sizes if self.memory == "kmeans" else None
            self.network_ = with_centroids(self.network_, self.images.normals, self.seed, sizes)
        self.usual_, place_share = [], torch.zeros(())
        if self.config.score.places or self.config.score.whole:
            heat = [fit_heat(self.network_, *self.images.for_heat, anywhere=False)]
            self.usual_, place_share = usual_of(self.config, heat), heat[0].share
        bank = fill_bank(self.network_, self.images, place_share, usual=self.usual_)
        if not self.network_.of_places and self.stage1.batches.anomalies is None:
            # Labels that came after stage 1 are none that it has learnt from.
            bank = replace(bank, learnt_pixels=bank.learnt_pixels[:0])
        self.scorer_ = train_scorer(bank, self.network_.pooled_widths, self.config, self.seed)

    def scores(self, images: ImageSet) -> Scores:
        """Give the score of the detector."""
        features = extract_set(self.network_, images, usual=self.usual_)
        return {self.score_names[0]: score_features(self.scorer_, features).numpy()}

    def features(self, images: ImageSet) -> Tensor:
        """As of :meth:`Contender.features`."""
        return PeerNetwork(self.network_.encoder, {}).features(images)


class NoMemory(HopfieldMemory):
    """Stands for the memory while training: every feature is its own recollection."""

    def forward(self, query: Tensor) -> Tensor:
        """Give the query, where the memory would compare it."""
        return self.comparable(query.float())


def remove_memories(network: MultiScaleMemory) -> None:
    """Take the memories out of the network, keeping their sizes and retrieval."""
    for index, memory in enumerate(network.hopfield_memories()):
        without = _like(memory, NoMemory, 1).requires_grad_(False)
        network.memories[index] = without.to(memory.prototypes.device)


@torch.no_grad()
def with_centroids(
    network: MultiScaleMemory, normals: ImageSet, seed: int, sizes: Sequence[int] | None
) -> MultiScaleMemory:
    """Copy the network with memories of k-means centroids of features of normals.

    Args:
        network: Left as it is.
        normals: Training normals.
        seed: Of the clustering.
        sizes: Number of centroids of each scale; None leaves the mean alone, which is to have no
            memory.
    """
    network.eval()
    device = network.encoder.mean.device
    parts = [
        [features.cpu() for features in network(floats_on(device, batch))]
        for _, batch in batches(normals)
    ]
    result = copy.deepcopy(network)
    for index, memory in enumerate(network.hopfield_memories()):
        features = torch.cat([part[index].permute(0, 2, 3, 1).flatten(0, 2) for part in parts])
        places, size = memory.comparable(features), sizes[index] if sizes else 1
        means = MiniBatchKMeans(size, random_state=seed, n_init=1, batch_size=4096)
        centroids = _like(memory, HopfieldMemory, size)
        centroids.prototypes.copy_(torch.from_numpy(means.fit(places.numpy()).cluster_centers_))
        result.memories[index] = centroids.to(device)
    return result


def _like(memory: HopfieldMemory, kind: type[HopfieldMemory], size: int) -> HopfieldMemory:
    return kind(
        size,
        memory.prototypes.shape[1],
        beta=memory.beta,
        steps=memory.steps,
        unit_norm=memory.unit_norm,
    )
