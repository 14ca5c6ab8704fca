import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest

from anomem.config import (
    CalibrationChoices,
    Config,
    EncoderChoices,
    ImageChoices,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    Stage1Choices,
    Stage2Choices,
    ViewChoices,
    presets,
)
from anomem.config.mapping import changed, flat, overlaid
from anomem.config.presets import resolve


def test_paper_says_what_the_paper_says() -> None:
    paper = resolve("paper")
    assert paper.encoder.name == "resnet50" and paper.encoder.scales == (3, 4)
    assert paper.memory == MemoryChoices(sizes=(512, 256), beta=2.0, steps=3, unit_norm=False)
    assert paper.loss == LossChoices(
        temperature=0.1, soft_class=0.0, variance_weight=0.05, sampling_ratios=(0.3, 1.0),
        scale_weights="exponential", mean_by_scale=False,
    )  # fmt: skip
    assert paper.stage1.batch == 1024 and paper.stage2.margin == 2.0
    assert paper.pseudo.kinds == () and paper.stage2.prior is None


def test_preset_by_name_and_configuration_as_it_is() -> None:
    assert resolve("default") == presets.default()
    config = Config(stage1=Stage1Choices(epochs=3))
    assert resolve(config) is config
    with pytest.raises(
        ValueError, match="no preset 'fast'; choose from default, pretrained, paper"
    ):
        resolve("fast")


@pytest.mark.parametrize("name", presets.PRESETS)
def test_preset_survives_json(name: str) -> None:
    config = resolve(name)
    assert overlaid(Config(), json.loads(json.dumps(asdict(config)))) == config
    assert overlaid(config, {}) == config


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_choice_by_its_path(name: str) -> None:
    config = resolve(name)
    choices = flat(config)
    assert choices["memory__beta"] == config.memory.beta
    assert len(choices) == sum(len(group) for group in asdict(config).values())
    assert changed(Config(), choices) == config


def test_some_choices_changed() -> None:
    config = changed(
        presets.default(),
        {
            "memory__sizes": (32,),
            "encoder__scales": (4,),
            "loss__sampling_ratios": (1.0,),
            "memory__beta": 4,
        },
    )
    assert config.memory.sizes == (32,) and config.memory.beta == 4
    assert config.encoder.width == presets.default().encoder.width
    assert config.views == presets.default().views


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"memory__bet": 1}, "no choice 'memory__bet'"),
        ({"beta": 1}, "no choice 'beta'"),
        ({"memory__beta": -1}, "beta is -1; it must be above 0"),
        ({"memory__sizes": (1, 2, 3)}, "memory.sizes has 3 values for 2 scales"),
    ],
)
def test_change_that_cannot_be(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(Config(), choices)


def test_file_is_laid_over_a_preset() -> None:
    config = overlaid(
        presets.default(), {"stage1": {"epochs": 3, "max_steps": 7}, "images": {"size": [32, 48]}}
    )
    default = presets.default()
    assert config.stage1 == replace(default.stage1, epochs=3, max_steps=7)
    assert config.images.size == (32, 48)
    assert config.encoder == default.encoder


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"memory": {"bta": 1}}, r"memory\.bta: .*\(given: 1\)"),
        ({"memories": {"beta": 1}}, "memories: "),
        ({"memory": {"beta": "high"}}, r"memory\.beta: .*number.*\(given: 'high'\)"),
        ({"memory": {"beta": -2}}, r"memory: beta is -2\.0; it must be above 0"),
        ({"memory": 3}, "memory: "),
        ({"pseudo": {"kinds": ["swirl"]}}, r"pseudo\.kinds\.0: .*'swirl'"),
        ({"memory": {"sizes": [4]}}, "memory.sizes has 1 values for 2 scales"),
        ({"images": {"size": [32]}}, r"images\.size"),
        ({"encoder": {"stem_stride": 3}}, r"encoder\.stem_stride"),
    ],
)
def test_file_that_does_not_fit(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        overlaid(presets.default(), mapping)
    assert type(error.value) is ValueError
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("group", "choices", "message"),
    [
        (ImageChoices, {"size": (7, 64)}, "size is .7, 64.; it must be at least 8 x 8 pixels"),
        (EncoderChoices, {"scales": ()}, "increasing indices"),
        (EncoderChoices, {"scales": (4, 3)}, "increasing indices"),
        (EncoderChoices, {"scales": (3, 3)}, "increasing indices"),
        (EncoderChoices, {"width": 2}, "width is 2; it must be at least 4"),
        (MemoryChoices, {"sizes": ()}, "one positive number a scale"),
        (MemoryChoices, {"sizes": (4, 0)}, "one positive number a scale"),
        (MemoryChoices, {"beta": 0}, "above 0"),
        (MemoryChoices, {"steps": 0}, "at least 1"),
        (LossChoices, {"temperature": 0}, "above 0"),
        (LossChoices, {"soft_class": -1}, "at least 0"),
        (LossChoices, {"sampling_ratios": (0.0, 1.0)}, "in .0, 1., one a scale"),
        (LossChoices, {"sampling_ratios": (0.3, 1.1)}, "in .0, 1., one a scale"),
        (LossChoices, {"sampling_ratios": ()}, "in .0, 1., one a scale"),
        (ViewChoices, {"crop": 0}, "crop"),
        (ViewChoices, {"noise": 1.5}, "noise is 1.5"),
        (PseudoChoices, {"kinds": ("swirl",)}, "from rotate90, rotate180"),
        (Stage1Choices, {"epochs": 0}, "above 0"),
        (Stage1Choices, {"batch": 1}, "at least 2"),
        (Stage1Choices, {"anomaly_share": 0}, "above 0"),
        (Stage1Choices, {"warmup": 1}, "warmup"),
        (Stage2Choices, {"margin": 0}, "above 0"),
        (Stage2Choices, {"prior": 0}, "above 0, at most 1e.06"),
        (CalibrationChoices, {"share": 0.6}, "0.5"),
    ],
)
def test_choice_out_of_range(group: Any, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group(**choices)


def test_choices_are_read_without_torch() -> None:
    code = "import sys, anomem.config.presets; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
