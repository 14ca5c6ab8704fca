"""PIAD: perceptual image anomaly detection (Tuluptceva et al., ACPR 2019)."""

from __future__ import annotations

from dataclasses import replace

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from anomem.config import EncoderChoices
from anomem.images.image_set import Chosen, floats_on
from anomem.model.encoder import Encoder
from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.autoencoder import CODE, Autoencoder, MapNetwork
from anomem_bench.peers.game import critic, gradient_norm, wasserstein_game
from anomem_bench.peers.peer import PeerNetwork

_BETAS = (0.5, 0.99)
_BALANCED_EVERY = 10  # steps
_STANDARDISED = 200  # normals


class Perception(nn.Module):
    """Gives the first feature map of an untrained encoder that stays as it is, standardised.

    Args:
        choices: Of the encoder.
        channels: Of the images.

    Attributes:
        mean: Of each channel of the map over training normals, (C, 1, 1).
        std: Its standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, choices: EncoderChoices, channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(replace(choices, frozen=True), channels).eval()
        self.encoder.mean.zero_()
        self.encoder.std.fill_(1)
        self.register_buffer("mean", torch.zeros(self.encoder.widths[0], 1, 1))
        self.register_buffer("std", torch.ones(self.encoder.widths[0], 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Make the map (B, C, h, w) of normalised images (B, C, H, W)."""
        standardised: Tensor = (self.encoder(images)[0] - self.mean) / self.std
        return standardised

    @torch.no_grad()
    def standardise_by(self, images: Tensor) -> None:
        """Take mean and deviation of the channels from normalised images.

        An untrained channel may be the same all over the normals, and is then no measure of
        anything: a deviation is at least the mean one.
        """
        maps = self.encoder(images)[0]
        deviation = maps.std(dim=(0, 2, 3))
        self.mean.copy_(maps.mean(dim=(0, 2, 3)).view(-1, 1, 1))
        self.std.copy_(deviation.clamp(min=deviation.mean()).view(-1, 1, 1))


class PIAD(Autoencoder):
    """Learns both ways between images and codes against two critics; scores the way there and back.

    "Perceptual Image Anomaly Detection": encoder and decoder are trained to bring images and
    Gaussian codes to each other's distribution, each against a critic (Wasserstein, gradient
    penalty of 10), and to reconstruct images by the relative perceptual L1 (:func:`relative_l1`),
    weighed every ten steps so that both gradients are of one length; the score is that error.
    As there, and unlike other peers here, Adam takes the steps, as under SGD the game runs away;
    its rate is a fiftieth of the detector's, on the same schedule. Departures from the official
    code (github.com/ninatu/anomaly_detection): features are those of an untrained encoder of the
    same kind, at its first scale, standardised over training normals, in place of a VGG-19 trained
    on ImageNet; the encoder is the detector's, a code is 32 channels at each place of its last map,
    and the critic of codes judges place by place; critics, encoder and decoder take their steps at
    once, in place of two steps of the critics before each of the others; one weight balances
    encoder and decoder together, as last measured, in place of a smoothed one each, every 100
    steps; images are seen in views. Labelled anomalies are not used.
    """

    score_names = ("piad",)
    rate = 0.02

    def start(self, images: TrainingSet) -> tuple[Fabric, PeerNetwork]:
        """Build the network, its perception standardised by training normals."""
        fabric, network = super().start(images)
        few = Chosen.of(images.normals).spread(_STANDARDISED).all()
        self._perception().standardise_by(self.normalised(floats_on(fabric.device, few)))
        self._steps, self._weight = 0, torch.ones((), device=fabric.device)
        return fabric, network

    def new_network(self, encoder: Encoder) -> MapNetwork:
        """Build the network with an encoder, new heads, a decoder, two critics and perception."""
        network, channels = super().new_network(encoder), len(encoder.mean)
        network.heads["image_critic"] = critic((channels, 32, 64, 128), side=3)
        network.heads["code_critic"] = critic((CODE, 256, 256), side=1)
        network.heads["perception"] = Perception(self.config.encoder, channels)
        return network

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build the code."""
        return {"code": nn.Conv2d(width, CODE, 1)}

    def optimizer(self, network: PeerNetwork) -> torch.optim.Optimizer:
        """Build Adam over all parameters that are not frozen."""
        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        return torch.optim.Adam(parameters, betas=_BETAS)

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Add both games and the weighed error of one view of each normal."""
        view = random_view(images[label == 0], self.config.views, chance)
        code = self.head("code")(network(view).float())
        drawn = torch.randn(code.shape, generator=chance.generator, device=code.device)
        invented, wanted = self.decoded(drawn, view), self.normalised(view)
        game = wasserstein_game(self.head("image_critic"), wanted, invented, chance)
        game = game + wasserstein_game(self.head("code_critic"), drawn, code, chance)
        error = self._error(wanted, self.decoded(code, view)).mean()
        if self._steps % _BALANCED_EVERY == 0:
            moved = [self.network_.encoder, self.head("code"), self.head("decoder")]
            parameters = [weight for module in moved for weight in module.parameters()]
            self._weight = gradient_norm(game, parameters) / gradient_norm(error, parameters)
        self._steps += 1
        return game + self._weight * error

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the relative perceptual L1 between an image and its reconstruction."""
        code = self.head("code")(self.network_(images).float())
        error = self._error(self.normalised(images), self.decoded(code, images))
        return {"piad": error.cpu()}

    def _error(self, wanted: Tensor, made: Tensor) -> Tensor:
        perception = self._perception()
        return relative_l1(perception(wanted), perception(made))

    def _perception(self) -> Perception:
        perception = self.head("perception")
        assert isinstance(perception, Perception)
        return perception


def relative_l1(wanted: Tensor, made: Tensor) -> Tensor:
    """Divide the L1 distance of features (B, C, h, w) by the L1 norm of the first, (B,)."""
    dims = (1, 2, 3)
    return (wanted - made).abs().mean(dim=dims) / wanted.abs().mean(dim=dims)
