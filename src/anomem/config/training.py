"""Choices of the training: loss, views, pseudo-anomalies, stage 1 and 2, held-out normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from anomem.config.choices import Choices

PseudoKind = Literal["rotate90", "rotate180", "rotate270", "cutpaste", "cutpaste_scar", "noise"]
MOST_STEPS = 10**9
"""Of stage 1."""
LambdaForm = Literal["exponential", "linear"]


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
    mean_by_scale: bool = True
    """Take the mean over the places of each scale, a departure from Eq. 4: a scale then weighs its
    lambda however many places it has. False divides the sum over the places of all scales by their
    number, as the paper does."""

    def __post_init__(self) -> None:
        self._require_above_0("temperature", most=1e6)
        for name in ("soft_class", "variance_weight", "kind_weight", "patch_weight"):
            self._require(0 <= getattr(self, name) <= 1e6, name, "0 or above, at most 1e+06")
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
        self._require(
            set(self.kinds) <= set(known) and len(set(self.kinds)) == len(self.kinds),
            "kinds",
            f"from {', '.join(known)}, each once",
        )
        self._require_above_0("share", most=100)
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
        self._require_above_0("epochs", "max_seconds", most=1e9)
        self._require_above_0("min_steps", "max_steps", most=MOST_STEPS)
        self._require_above_0("anomaly_share", most=1000)
        self._require_above_0("learning_rate", most=1e30)
        self._require(0 <= self.weight_decay <= 1000, "weight_decay", "0 or above, at most 1000")
        self._require(2 <= self.batch <= 2**16, "batch", f"at least 2, at most {2**16}")
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
        self._require_above_0("margin", "prior", most=1e6)
        self._require_above_0("learning_rate", most=1e30)
        self._require_above_0("hidden", most=2**14)
        self._require_above_0("steps", most=100_000)
        self._require(0 <= self.weight_decay <= 1000, "weight_decay", "0 or above, at most 1000")


@dataclass(frozen=True)
class CalibrationChoices(Choices):
    """Normals held out from all training, on whose scores decisions rest."""

    share: float = 0.1
    """Share of the normals held out: at least 19 of them, at most half."""

    def __post_init__(self) -> None:
        self._require(0 < self.share <= 0.5, "share", "in (0, 0.5]")
