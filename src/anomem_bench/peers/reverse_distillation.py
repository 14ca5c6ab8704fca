"""Reverse distillation: a student makes a teacher's maps from a bottleneck (Deng and Li, 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur  # type: ignore[import-untyped]

from anomem.model.encoder import Encoder
from anomem.training.draws import Chance
from anomem_bench.peers.peer import PeerNetwork, TrainedPeer

_BLUR = 4 / 256
"""Standard deviation of the blur of anomaly maps, as a share of the side of the images."""


class Student(nn.Module):
    """Joins a one-class bottleneck of three maps and a decoder that makes them anew, in reverse.

    Args:
        widths: Channels of the maps, of which each has half the sides of the one before.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first, second, third = widths
        inside = 2 * third
        self.downs = nn.ModuleList(
            [
                nn.Sequential(_halved(first, second), _halved(second, third)),
                _halved(second, third),
                nn.Identity(),
            ]
        )
        self.bottleneck = _block(3 * third, inside, stride=2)
        self.ups = nn.ModuleList(
            [
                _block(above, below)
                for above, below in ((inside, third), (third, second), (second, first))
            ]
        )
        self.ends = nn.ModuleList([nn.Conv2d(width, width, 1) for width in (third, second, first)])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Make maps of the same shapes, (B, C_s, H_s, W_s) a scale, shallow to deep."""
        joined = torch.cat([down(each) for down, each in zip(self.downs, maps, strict=True)], dim=1)
        inner, made = self.bottleneck(joined), []
        for up, end, like in zip(self.ups, self.ends, reversed(maps), strict=True):
            inner = up(functional.interpolate(inner, like.shape[2:]))
            made.append(end(inner))
        return made[::-1]


class ReverseDistillation(TrainedPeer):
    """Teaches a student a frozen encoder's maps of normals; anomalies are where it fails.

    "Anomaly Detection via Reverse Distillation from One-Class Embedding" (Deng and Li, CVPR 2022;
    official code: hq-deng/RD4AD). Three maps of the teacher are joined in a bottleneck, from which
    the student makes them anew, the deepest first; the loss is one minus the cosine of both, each
    map of an image taken as one vector. One minus the cosine of each place, enlarged to the image
    and summed over the three maps, is blurred; its largest value is the score. Departures from the
    official code: the teacher is the detector's encoder and the student has one basic residual
    block a map, of the same widths, in place of (wide) ResNets; maps are enlarged by nearest
    neighbour before a block, not by transposed convolutions within it, so that any size goes; each
    ends in a 1 x 1 convolution, as maps of some teachers may be negative; the optimiser is the
    detector's, in place of Adam. Images are trained on as they are, as there, without views, and
    labelled anomalies are not used. With a teacher that is not pretrained the paper's figures are
    not to be expected.
    """

    score_names: tuple[str, ...] = ("reverse-distillation",)

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """Build the student beside its teacher, of which nothing is trained."""
        if len(encoder.every_width) != 3:
            raise ValueError(
                f"reverse distillation takes three maps and the encoder gives "
                f"{len(encoder.every_width)}; give two scales, the first above 0."
            )
        return PeerNetwork(encoder.requires_grad_(False), {"student": Student(encoder.every_width)})

    def heads(self, width: int) -> dict[str, nn.Module]:  # noqa: ARG002 - the student has three
        """Build none but the student."""
        return {}

    def maps(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Make the maps of the teacher and those of the student, three each."""
        encoder = self.network_.encoder.eval()
        with torch.no_grad():
            taught = [each.float() for each in encoder.every_map(images)]
        return taught, self.head("student")(taught)

    def loss(
        self,
        network: nn.Module,  # noqa: ARG002 - of the encoder nothing is trained
        images: Tensor,
        label: Tensor,
        chance: Chance,  # noqa: ARG002 - there are no views
    ) -> Tensor:
        """Take one minus the cosine of whole maps of normals, summed over the maps."""
        return distillation_loss(*self.maps(images[label == 0]))

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the largest value of the blurred anomaly map."""
        size = (images.shape[2], images.shape[3])
        anomaly = blurred(anomaly_map(*self.maps(images), size=size))
        return {self.score_names[0]: anomaly.amax(dim=(1, 2)).cpu()}


class UntrainedTeacher(ReverseDistillation):
    """Is the same beside a teacher of random weights, which shows what the pretrained ones give."""

    score_names = ("reverse-distillation-untrained",)


def distillation_loss(taught: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Take one minus the cosine of maps (B, C_s, H_s, W_s) as vectors, mean over B, sum over s."""
    terms = [
        1 - functional.cosine_similarity(one.flatten(1), other.flatten(1)).mean()
        for one, other in zip(taught, made, strict=True)
    ]
    return torch.stack(terms).sum()


def anomaly_map(
    taught: Sequence[Tensor], made: Sequence[Tensor], *, size: tuple[int, int]
) -> Tensor:
    """Take one minus the cosine of each place of maps (B, C_s, H_s, W_s).

    Args:
        taught: Of the teacher.
        made: Of the student.
        size: Height and width that they are enlarged to.

    Returns:
        Their sum (B, H, W).
    """
    distances = [
        1 - functional.cosine_similarity(one, other)[:, None]
        for one, other in zip(taught, made, strict=True)
    ]
    enlarged = [
        functional.interpolate(each, size, mode="bilinear", align_corners=True)
        for each in distances
    ]
    return torch.cat(enlarged, dim=1).sum(dim=1)


def blurred(maps: Tensor) -> Tensor:
    """Blur maps (B, H, W) by a Gaussian, of deviation 4 where the side is 256, cut at four."""
    sigma = _BLUR * max(maps.shape[1:])
    side = 2 * int(4 * sigma + 0.5) + 1
    soft: Tensor = gaussian_blur(maps, [side, side], [sigma, sigma])
    return soft


def _halved(inside: int, outside: int) -> nn.Module:
    """A 3 x 3 convolution that halves the sides of a map."""
    convolution = nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


def _block(inside: int, outside: int, stride: int = 1) -> nn.Module:
    """A basic residual block, its shortcut a 1 x 1 convolution."""
    return BasicBlock(inside, outside, stride, downsample_conv(inside, outside, 1, stride))
