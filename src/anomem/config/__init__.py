"""Every choice of a detector, presets by name, and both as plain mappings.

Nothing here imports torch, so that the command line can show all choices at once.
"""

from anomem.config.choices import (
    LARGEST_SIDE,
    MOST_STEPS,
    CalibrationChoices,
    ComputeChoices,
    Config,
    EncoderChoices,
    FramingKind,
    ImageChoices,
    LambdaForm,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    PseudoKind,
    ScoreChoices,
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
