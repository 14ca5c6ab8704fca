"""Every choice of a detector, presets by name, and both as plain mappings.

Nothing here imports torch, so that the command line can show all choices at once.
"""

from anomem.config.choices import (
    LARGEST_SIDE as LARGEST_SIDE,
    MOST_STEPS as MOST_STEPS,
    CalibrationChoices as CalibrationChoices,
    ComputeChoices as ComputeChoices,
    Config as Config,
    EncoderChoices as EncoderChoices,
    FramingKind as FramingKind,
    ImageChoices as ImageChoices,
    LambdaForm as LambdaForm,
    LossChoices as LossChoices,
    MemoryChoices as MemoryChoices,
    PseudoChoices as PseudoChoices,
    PseudoKind as PseudoKind,
    ScoreChoices as ScoreChoices,
    Stage1Choices as Stage1Choices,
    Stage2Choices as Stage2Choices,
    ViewChoices as ViewChoices,
)
