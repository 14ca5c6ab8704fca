"""What all peers share with the detector: encoder, views, batches, optimiser, averaging, face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from anomem.config import Config, PseudoChoices
from anomem.config.presets import resolve
from anomem.detector.frame import square_image_shape
from anomem.detector.new_network import NORMALISATION_SAMPLE
from anomem.images.image_set import Chosen, ImageSet, batches, floats_on
from anomem.images.open import open_images
from anomem.images.prepare import prepare
from anomem.images.resize import ImageShape
from anomem.model.encoder import Encoder
from anomem.runtime.device import make_fabric, repeatable_kernels
from anomem.training.batches import Batches
from anomem.training.draws import seeded
from anomem.training.optimisation import Clock, WeightAverage, descend, new_optimizer
from anomem.training.stage1 import resolve_steps


class PeerNetwork(nn.Module):
    """The encoder, its last feature map averaged over its places, and the heads of a peer.

    Args:
        encoder: Gives the feature maps; the last one is used.
        heads: By name, each from the features (B, C).
    """

    def __init__(self, encoder: Encoder, heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, nn.ModuleDict(heads)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, C) of images (B, C, H, W) in [0, 1]."""
        features: Tensor = self.encoder(images)[-1].mean(dim=(2, 3))
        return features


class Peer(BaseEstimator, ABC):  # type: ignore[misc]
    """A method of the literature on the encoder of the detector.

    Args:
        config: Name of a preset, or a :class:`~anomem.config.Config`; what is the detector's own
            (memory, pseudo-anomalies, stage 2) is not used.
        device: As of :class:`~anomem.AnoMem`.
        seed: Of every random draw.

    Attributes:
        score_names: Names of its scores; the first is that of ``decision_function``.
        needs_anomalies: It cannot be trained on normals alone.
        network_: Encoder and heads.
        shape_: Channels, height and width that images are brought to.
    """

    score_names: ClassVar[tuple[str, ...]]
    needs_anomalies: ClassVar[bool] = False

    def __init__(
        self, config: str | Config = "default", *, device: str = "auto", seed: int = 0
    ) -> None:
        self.config = config
        self.device = device
        self.seed = seed

    def fit(self, X: object, *, anomalies: object = None) -> Self:
        """Train on images X, all normal, and on labelled anomalies where there are any."""
        source, config = open_images(X), self._choices()
        shape = square_image_shape(config, source)
        normals = prepare(source, shape)
        labelled = None if anomalies is None else prepare(open_images(anomalies), shape)
        for _ in self.begin(normals, labelled, shape, Clock(config.stage1.max_seconds)):
            pass
        self.finish()
        return self

    def decision_function(self, X: object) -> npt.NDArray[np.float32]:
        """Anomaly score of each image, (N,) float32, higher is more anomalous."""
        check_is_fitted(self, "network_")
        scores = self.scores(prepare(open_images(X), self.shape_))
        return scores[self.score_names[0]]

    @abstractmethod
    def begin(
        self, normals: ImageSet, anomalies: ImageSet | None, shape: ImageShape, clock: Clock
    ) -> Iterator[int]:
        """Initialise and train, yielding the steps done after each step.

        Args:
            normals: Training normals.
            anomalies: Labelled anomalies, or None.
            shape: Of the images.
            clock: Counts the seconds of training, and may end it.

        Raises:
            ValueError: The peer cannot be trained without anomalies.
        """

    @abstractmethod
    def finish(self) -> None:
        """Make ready to score from where the training stands."""

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """The network with an encoder, before its first step."""
        return PeerNetwork(encoder, {})

    def start(self, normals: ImageSet, shape: ImageShape) -> tuple[Fabric, PeerNetwork]:
        """The network before its first step, and where it is trained."""
        config = self._choices()
        fabric = make_fabric(self.device, config.compute.precision)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encoder = Encoder(
                config.encoder, shape.channels, channels_last=config.compute.channels_last
            )
            network = self.new_network(encoder)
        encoder.normalise_by(Chosen.of(normals).spread(NORMALISATION_SAMPLE).all())
        network.to(fabric.device)
        self.network_, self.shape_, self._normals = network, shape, normals
        return fabric, network

    @repeatable_kernels()
    @torch.inference_mode()
    def scores(self, images: ImageSet) -> dict[str, npt.NDArray[np.float32]]:
        """Scores (N,) of all images of a set, by the name of each score the peer has.

        Where the detector measures the mirror image too, a score is the mean of both.
        """
        config = self._choices()
        parts = []
        for _, batch in batches(images):
            pixels = floats_on(self._device(), batch)
            passes = [self.score(pixels)]
            if config.score.mirror and config.views.flip:
                passes.append(self.score(pixels.flip(3)))
            parts.append({n: torch.stack([p[n] for p in passes]).mean(0) for n in passes[0]})
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    @abstractmethod
    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Scores (B,) on the CPU, by name, of images (B, C, H, W) in [0, 1]."""

    @repeatable_kernels()
    @torch.inference_mode()
    def features(self, images: ImageSet) -> Tensor:
        """Features (N, C) of all images of a set, on the CPU."""
        device = self._device()
        parts = [self.network_(floats_on(device, batch)).cpu() for _, batch in batches(images)]
        return torch.cat(parts)

    def _device(self) -> torch.device:
        return self.network_.encoder.mean.device

    def _choices(self) -> Config:
        return resolve(self.config)


class TrainedPeer(Peer):
    """A peer that is trained, on the views, batches and optimiser of the detector.

    Attributes:
        done_: Share of the training, in [0, 1), that was over when its last step began.
    """

    def begin(
        self, normals: ImageSet, anomalies: ImageSet | None, shape: ImageShape, clock: Clock
    ) -> Iterator[int]:
        """As of :meth:`Peer.begin`."""
        if self.needs_anomalies and anomalies is None:
            raise ValueError(f"{type(self).__name__} learns from labelled anomalies; give some.")
        config = self._choices()
        fabric, network = self.start(normals, shape)
        module, optimizer = fabric.setup(network, new_optimizer(network, config.stage1))
        self._average = WeightAverage(network, config.stage1.averaging)
        drawn = Batches(
            normals, anomalies, config.stage1, PseudoChoices(), self.seed, fabric.device
        )

        def loss_at(step: int) -> Tensor:
            self.network_ = network.train()
            self.done_ = max(step / steps, clock.share())
            generator = seeded(self.seed, step, fabric.device)
            batch = drawn.at(step)
            return self.loss(module, batch.images, batch.kind, config, generator)

        steps = resolve_steps(config.stage1, len(normals))
        walk = descend(
            optimizer,
            loss_at,
            config.stage1,
            fabric=fabric,
            steps=steps,
            clock=clock,
            after=self._average.update,
        )
        for step, _ in walk:
            yield step

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """The network with an encoder and new heads."""
        return PeerNetwork(encoder, self.heads(encoder.widths[-1]))

    def finish(self) -> None:
        """Take the averaged weights, and make what scoring needs from them."""
        self.network_ = self._average.averaged(self.network_)
        self.settle(self._normals)

    @abstractmethod
    def heads(self, width: int) -> dict[str, nn.Module]:
        """New heads on features of so many channels."""

    @abstractmethod
    def loss(
        self,
        network: nn.Module,
        images: Tensor,
        label: Tensor,
        config: Config,
        generator: torch.Generator,
    ) -> Tensor:
        """Loss of a batch.

        Args:
            network: Gives features (B, C) of images.
            images: (B, C, H, W) in [0, 1], before their views.
            label: (B,), 0 normal, 1 anomalous.
            config: Choices of the views and of the loss.
            generator: Of random draws, on the device of the images.
        """

    def settle(self, normals: ImageSet) -> None:
        """Measure the training normals after the training, where scores need it."""

    def head(self, name: str) -> nn.Module:
        """One of the heads."""
        return self.network_.heads[name]
