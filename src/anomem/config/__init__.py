"""Every choice of the detector, as plain dataclasses.

Nothing here imports torch, so that the command line can show all choices at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anomem.config.choices import Choices
from anomem.config.network import (
    LARGEST_SIDE,
    ComputeChoices,
    EncoderChoices,
    FramingKind,
    ImageChoices,
    MemoryChoices,
    ScoreChoices,
)
from anomem.config.training import (
    MOST_STEPS,
    CalibrationChoices,
    LambdaForm,
    LossChoices,
    PseudoChoices,
    PseudoKind,
    Stage1Choices,
    Stage2Choices,
    ViewChoices,
)

__all__ = [
    "LARGEST_SIDE",
    "MOST_STEPS",
    "CalibrationChoices",
    "ComputeChoices",
    "Config",
    "EncoderChoices",
    "FramingKind",
    "ImageChoices",
    "LambdaForm",
    "LossChoices",
    "MemoryChoices",
    "PseudoChoices",
    "PseudoKind",
    "ScoreChoices",
    "Stage1Choices",
    "Stage2Choices",
    "ViewChoices",
]


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
