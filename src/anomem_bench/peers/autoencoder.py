"""What the peers that reconstruct images share: a code of each place, and a decoder of it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from anomem.images.image_set import ImageSet
from anomem.model.encoder import Encoder
from anomem.runtime.device import repeatable_kernels
from anomem_bench.peers.peer import PeerNetwork, TrainedPeer

CODE = 32
"""Channels of the code at each place of the last feature map."""
_PROBE = 64
_NARROWEST = 8


class MapNetwork(PeerNetwork):
    """Joins the encoder and the heads of a peer, each from the last feature map."""

    def forward(self, images: Tensor) -> Tensor:
        """Make the last feature map (B, C, h, w) of images (B, C, H, W) in [0, 1]."""
        last: Tensor = self.encoder(images)[-1]
        return last

    @repeatable_kernels()
    @torch.inference_mode()
    def features(self, images: ImageSet) -> Tensor:
        """As of :meth:`PeerNetwork.features`: the map, averaged over its places."""
        return torch.cat([self(batch).mean(dim=(2, 3)).cpu() for batch in self.batches(images)])


class Decoder(nn.Module):
    """Mirrors an encoder: doubles the sides of a map, halving its channels, up to the image.

    Each doubling is by nearest neighbours, then a 3 x 3 convolution, batch norm and ReLU; what
    leaves the last convolution has no bounds.

    Args:
        width: Channels of the code.
        encoder: Which it mirrors.
    """

    def __init__(self, width: int, encoder: Encoder) -> None:
        super().__init__()
        channels, last = len(encoder.mean), encoder.widths[-1]
        doublings = (_stride(encoder) - 1).bit_length()
        widths = [width, *(max(last >> k, _NARROWEST) for k in range(1, doublings + 1))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, code: Tensor) -> Tensor:
        """Make images of codes (B, width, h, w), at least as large as those that were encoded."""
        images: Tensor = self.layers(code)
        return images


class Autoencoder(TrainedPeer):
    """Trains a peer whose head "code" is decoded into images in units of the encoder's input."""

    def new_network(self, encoder: Encoder) -> MapNetwork:
        """Build the network with an encoder, new heads and a decoder."""
        heads = self.heads(encoder.widths[-1])
        return MapNetwork(encoder, {"decoder": Decoder(CODE, encoder), **heads})

    def normalised(self, images: Tensor) -> Tensor:
        """Bring images in [0, 1] to mean 0 and deviation 1 over the training normals."""
        encoder = self.network_.encoder
        return (images - encoder.mean) / encoder.std

    def decoded(self, code: Tensor, like: Tensor) -> Tensor:
        """Decode (B, 32, h, w) into normalised images of the size of others."""
        images: Tensor = self.head("decoder")(code)
        return images[..., : like.shape[2], : like.shape[3]]


def _stride(encoder: Encoder) -> int:
    """Give the pixels of an image from one place of the last map to the next."""
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        last = encoder(torch.zeros(1, len(encoder.mean), _PROBE, _PROBE))[-1]
    encoder.train(training)
    return _PROBE // last.shape[3]


def squared_error(made: Tensor, wanted: Tensor) -> Tensor:
    """Average the squared difference of images (B, C, H, W) over channels and pixels, (B,)."""
    return (made - wanted).square().mean(dim=(1, 2, 3))
