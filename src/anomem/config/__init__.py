"""Every choice of a detector, presets by name, and both as plain mappings.

Nothing here imports torch, so that the command line can show all choices at once.
"""

from anomem.config.choices import (
    LARGEST_SIDE as LARGEST_SIDE,
)
from anomem.config.choices import (
    MOST_STEPS as MOST_STEPS,
)
from anomem.config.choices import (
    CalibrationChoices as CalibrationChoices,
)
from anomem.config.choices import (
    ComputeChoices as ComputeChoices,
)
from anomem.config.choices import (
    Config as Config,
)
from anomem.config.choices import (
    EncoderChoices as EncoderChoices,
)
from anomem.config.choices import (
    FramingKind as FramingKind,
)
from anomem.config.choices import (
    ImageChoices as ImageChoices,
)
from anomem.config.choices import (
    LambdaForm as LambdaForm,
)
from anomem.config.choices import (
    LossChoices as LossChoices,
)
from anomem.config.choices import (
    MemoryChoices as MemoryChoices,
)
from anomem.config.choices import (
    PseudoChoices as PseudoChoices,
)
from anomem.config.choices import (
    PseudoKind as PseudoKind,
)
from anomem.config.choices import (
    ScoreChoices as ScoreChoices,
)
from anomem.config.choices import (
    Stage1Choices as Stage1Choices,
)
from anomem.config.choices import (
    Stage2Choices as Stage2Choices,
)
from anomem.config.choices import (
    ViewChoices as ViewChoices,
)
