import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from anomem.config import (
    Config,
    presets,
)
from anomem.config.mapping import changed, flat, overlaid
from anomem.config.presets import resolve


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
        presets.scratch(),
        {
            "memory__sizes": (32,),
            "encoder__scales": (4,),
            "loss__sampling_ratios": (1.0,),
            "memory__beta": 4,
        },
    )
    assert config.memory.sizes == (32,) and config.memory.beta == 4
    assert config.encoder.width == presets.scratch().encoder.width
    assert config.views == presets.scratch().views


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
        presets.scratch(), {"stage1": {"epochs": 3, "max_steps": 7}, "images": {"size": [32, 48]}}
    )
    scratch = presets.scratch()
    assert config.stage1 == replace(scratch.stage1, epochs=3, max_steps=7)
    assert config.images.size == (32, 48)
    assert config.encoder == scratch.encoder


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
        overlaid(presets.scratch(), mapping)
    assert type(error.value) is ValueError
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
