import pytest
from digit_images import Digits

from anomem.config import Config
from anomem.config.mapping import changed
from anomem.images.resize import ImageShape
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.ours import Ours


def test_a_collapse_is_told_with_the_name_of_the_method(tiny: Config) -> None:
    """Several methods train side by side."""
    forgetful = {"memory__beta": 1e-3, "loss__soft_class": 0.0, "pseudo__kinds": ()}
    steps = {"stage1__batch": 24, "stage1__min_steps": 102, "stage1__max_steps": 102}
    images = TrainingSet(Digits(3), None, ImageShape(1, 16, 16))
    ours = Ours(changed(tiny, forgetful | steps), device="cpu", name="paper-small")
    with pytest.warns(UserWarning, match="^paper-small: after 102 steps .* the mean of all 16 pro"):
        assert list(ours.begin(images, Clock()))[-1] == 102
