import subprocess
import sys

import pytest

from anomem.config import (
    Config,
    LossChoices,
    MemoryChoices,
    Stage1Choices,
    presets,
)
from anomem.config.presets import Automatic, automatic, given_choices, resolve


def test_paper_says_what_the_paper_says() -> None:
    paper = resolve("paper")
    assert paper.encoder.name == "resnet50" and paper.encoder.scales == (3, 4)
    # beta 2 over tau 0.1, as the similarities of Eq. 2
    assert paper.memory == MemoryChoices(sizes=(512, 256), beta=2.0 / 0.1, start="normals")
    assert paper.loss == LossChoices(
        temperature=0.1, soft_class=0.0, variance_weight=0.05, sampling_ratios=(0.3, 1.0),
        scale_weights="exponential", mean_by_scale=False,
    )  # fmt: skip
    assert paper.stage1.batch == 1024 and paper.stage2.margin == 2.0
    assert paper.pseudo.kinds == () and paper.stage2.prior is None


def test_preset_by_name_and_configuration_as_it_is() -> None:
    assert resolve("scratch") == presets.scratch()
    config = Config(stage1=Stage1Choices(epochs=3))
    assert resolve(config) is config
    with pytest.raises(
        ValueError, match="no preset 'fast'; choose from scratch, pretrained, paper"
    ):
        resolve("fast")


def test_a_fit_begins_with_a_preset_a_configuration_or_none() -> None:
    config = Config(stage1=Stage1Choices(epochs=3))
    assert given_choices("paper") == presets.paper() and automatic("paper") is None
    assert given_choices(config) is config and automatic(config) is None
    assert given_choices("auto") == presets.scratch() and automatic("auto") == Automatic()
    left = Automatic(config, frozenset({"stage1__epochs", "memory__steps"}))
    assert given_choices(left) is config and automatic(left) is left
    assert left.asked == {"stage1__epochs": 3, "memory__steps": config.memory.steps}
    with pytest.raises(ValueError, match="no preset 'fast'; choose from auto, scratch, pret"):
        given_choices("fast")


def test_choices_are_read_without_torch() -> None:
    code = "import sys, anomem.config.presets; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
