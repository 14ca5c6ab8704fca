"""What all peers share with the detector: encoder, views, batches, optimiser and averaging."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from anomem.config import Config, PseudoChoices
from anomem.detector.new_network import NORMALISATION_SAMPLE
from anomem.images.image_set import Chosen, ImageSet, batches, floats_on
from anomem.model.encoder import Encoder
from anomem.runtime.device import make_fabric, repeatable_kernels
from anomem.training.batches import Batches
from anomem.training.draws import Chance, seeded
from anomem.training.optimisation import Clock, WeightAverage, descend, new_optimizer
from anomem.training.stage1 import resolve_steps
from anomem_bench.contender import Contender, Scores, TrainingSet


class PeerNetwork(nn.Module):
    """Joins the encoder, its last feature map averaged over its places, and the heads of a peer.

    Args:
        encoder: Gives the feature maps; the last one is used.
        heads: By name, each from the features (B, C).
    """

    def __init__(self, encoder: Encoder, heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, nn.ModuleDict(heads)

    def forward(self, images: Tensor) -> Tensor:
        """Make features (B, C) of images (B, C, H, W) in [0, 1]."""
        features: Tensor = self.encoder(images)[-1].mean(dim=(2, 3))
        return features

    def batches(self, images: ImageSet) -> Iterator[Tensor]:
        """Yield all images of a set in order, as floats on the device of the network."""
        return (floats_on(self.encoder.mean.device, batch) for _, batch in batches(images))

    @repeatable_kernels()
    @torch.inference_mode()
    def features(self, images: ImageSet) -> Tensor:
        """Make features (N, C) of all images of a set, on the CPU."""
        return torch.cat([self(batch).cpu() for batch in self.batches(images)])


class Peer(Contender):
    """Runs a method of the literature on the encoder of the detector.

    Of its choices what is the detector's own (memory, pseudo-anomalies, stage 2) is not used.

    Attributes:
        network_: Encoder and heads.
    """

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """Build the network with an encoder, before its first step."""
        return PeerNetwork(encoder, {})

    def start(self, images: TrainingSet) -> tuple[Fabric, PeerNetwork]:
        """Build the network before its first step, and where it is trained."""
        compute = self.config.compute
        fabric = make_fabric(self.device, compute.precision)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encoder = Encoder(
                self.config.encoder, images.shape.channels, channels_last=compute.channels_last
            )
            network = self.new_network(encoder)
        encoder.normalise_by(Chosen.of(images.normals).spread(NORMALISATION_SAMPLE).all())
        network.to(fabric.device)
        self.network_, self.shape_, self._normals = network, images.shape, images.normals
        return fabric, network

    @repeatable_kernels()
    @torch.inference_mode()
    def scores(self, images: ImageSet) -> Scores:
        """As of :meth:`Contender.scores`.

        Where the detector measures the mirror image too, a score is the mean of both.
        """
        parts = []
        for pixels in self.network_.batches(images):
            passes = [self.score(pixels)]
            if self.config.score.mirror and self.config.views.flip:
                passes.append(self.score(pixels.flip(3)))
            parts.append({n: torch.stack([p[n] for p in passes]).mean(0) for n in passes[0]})
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    @abstractmethod
    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Score images (B, C, H, W) in [0, 1]: (B,) on the CPU, by name."""

    def features(self, images: ImageSet) -> Tensor:
        """As of :meth:`Contender.features`."""
        return self.network_.features(images)


class FrozenPeer(Peer):
    """Runs a peer that takes the encoder as it is, and only measures the normals with it."""

    def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:  # noqa: ARG002 - no step
        """Take the encoder as it is."""
        self.start(images)
        yield from ()


class TrainedPeer(Peer):
    """Trains a peer, on the views, batches and optimiser of the detector.

    Attributes:
        rate: Its learning rate, as a share of that of its choices.
        done_: Share of the training, in [0, 1), that was over when its last step began.
    """

    rate: ClassVar[float] = 1.0

    def __init__(
        self, config: str | Config = "scratch", *, device: str = "auto", seed: int = 0
    ) -> None:
        super().__init__(config, device=device, seed=seed)
        stage1 = self.config.stage1
        stage1 = replace(stage1, learning_rate=self.rate * stage1.learning_rate)
        self.config = replace(self.config, stage1=stage1)

    def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:
        """As of :meth:`Contender.begin`."""
        if self.needs_anomalies and images.anomalies is None:
            raise ValueError(f"{type(self).__name__} learns from labelled anomalies; give some.")
        choices = self.config.stage1
        fabric, network = self.start(images)
        module, optimizer = fabric.setup(network, self.optimizer(network))
        self._average = WeightAverage(network, choices.averaging)
        drawn = self.drawn(images, fabric.device)
        steps = resolve_steps(choices, len(images.normals))

        def loss_at(step: int) -> Tensor:
            self.network_ = network.train()
            self.done_ = max(step / steps, clock.share())
            chance = Chance(seeded(self.seed, step, fabric.device))
            return self.loss(module, *drawn(step), chance)

        walk = descend(
            optimizer,
            loss_at,
            choices,
            fabric=fabric,
            steps=steps,
            clock=clock,
            after=self._average.update,
        )
        for step, _ in walk:
            yield step

    def drawn(
        self, images: TrainingSet, device: torch.device
    ) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Give what draws the images of a step, counted from 0, and their labels for the loss."""
        choices = self.config.stage1
        normals, anomalies = images.normals, images.anomalies
        batches = Batches(normals, anomalies, choices, PseudoChoices(), self.seed, device)

        def at(step: int) -> tuple[Tensor, Tensor]:
            batch = batches.at(step)
            return batch.images, batch.kind

        return at

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """Build the network with an encoder and new heads."""
        return PeerNetwork(encoder, self.heads(encoder.widths[-1]))

    def optimizer(self, network: PeerNetwork) -> torch.optim.Optimizer:
        """Build what takes the steps, at the learning rates of the detector's schedule."""
        return new_optimizer(network, self.config.stage1)

    def finish(self) -> None:
        """Take the averaged weights, and make what scoring needs from them."""
        self.network_ = self._average.averaged(self.network_)
        self.settle(self._normals)

    @abstractmethod
    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build new heads on features of so many channels."""

    @abstractmethod
    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Measure the loss of a batch.

        Args:
            network: Gives features (B, C) of images.
            images: (B, C, H, W) in [0, 1], before their views.
            label: (B,), 0 normal, 1 anomalous.
            chance: Random draws, on the device of the images.
        """

    def settle(self, normals: ImageSet) -> None:
        """Measure the training normals after the training, where scores need it."""

    def head(self, name: str) -> nn.Module:
        """Give one of the heads."""
        return self.network_.heads[name]
