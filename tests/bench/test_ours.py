import pytest
from digit_images import Digits

from anomem.config import (
    Config,
    EncoderChoices,
    LossChoices,
    MemoryChoices,
    Stage1Choices,
)
from anomem.images.resize import ImageShape
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.ours import Ours

FORGETFUL = Config(
    encoder=EncoderChoices(width=4, stem_stride=1),
    memory=MemoryChoices(sizes=(8, 6), beta=1e-3),
    loss=LossChoices(temperature=0.2),
    stage1=Stage1Choices(batch=24, learning_rate=0.05, min_steps=102, max_steps=102),
)


def test_a_collapse_is_told_with_the_name_of_the_method() -> None:
    """Several methods train side by side."""
    images = TrainingSet(Digits(3), None, ImageShape(1, 16, 16))
    training = Ours(FORGETFUL, device="cpu", name="paper-small").begin(images, Clock())
    with pytest.warns(UserWarning, match="^paper-small: after 102 steps .* the mean of all 8 pro"):
        assert list(training)[-1] == 102
