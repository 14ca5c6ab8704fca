"""The scikit-learn face of the detector: parameters, clones, what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from anomem import AnoMem, Config
from anomem.config import ImageChoices
from anomem.config.mapping import flat
from anomem.config.presets import Automatic, scratch

OTHER_CHOICES: dict[str, Any] = {
    "images__size": (24, 32),
    "images__channels": 1,
    "images__framing": "letterbox",
    "images__reduced": False,
    "encoder__name": "resnet50",
    "encoder__width": 12,
    "encoder__stem_stride": 1,
    "encoder__scales": (2, 4),
    "encoder__pretrained": True,
    "encoder__frozen": True,
    "encoder__weights": "weights.safetensors",
    "memory__start": "normals",
    "memory__sizes": (7, 5),
    "memory__beta": 3.0,
    "memory__steps": 2,
    "memory__unit_norm": False,
    "loss__temperature": 0.3,
    "loss__soft_class": 5.0,
    "loss__repulsion": 2.0,
    "loss__variance_weight": 0.1,
    "loss__kind_weight": 0.3,
    "loss__patch_weight": 0.3,
    "loss__sampling_ratios": (0.5, 0.5),
    "loss__scale_weights": "linear",
    "loss__mean_by_scale": False,
    "views__crop": 0.9,
    "views__flip": False,
    "views__brightness": 0.0,
    "views__contrast": 0.0,
    "views__saturation": 0.0,
    "views__blur": 0.0,
    "views__noise": 0.0,
    "pseudo__kinds": ("rotate270",),
    "stage1__epochs": 3.0,
    "stage1__min_steps": 2,
    "stage1__max_steps": 9,
    "stage1__max_seconds": 60.0,
    "stage1__batch": 16,
    "stage1__anomaly_share": 0.25,
    "stage1__averaging": 0.5,
    "stage1__learning_rate": 0.01,
    "stage1__warmup": 0.0,
    "stage1__weight_decay": 0.0,
    "stage2__hidden": 8,
    "stage2__margin": 1.0,
    "stage2__steps": 3,
    "stage2__learning_rate": 0.1,
    "stage2__weight_decay": 0.0,
    "stage2__prior": None,
    "score__mirror": False,
    "score__upside_down": False,
    "score__mahalanobis": False,
    "score__neighbours": 3,
    "score__places": 1.5,
    "score__whole": 0.5,
    "calibration__share": 0.3,
    "compute__precision": "bf16",
    "compute__compile": True,
    "compute__channels_last": False,
}


def test_set_params_reaches_every_choice_and_clone_keeps_it() -> None:
    # Prototypes of places go with choices that the preset does not make.
    assert set(OTHER_CHOICES) == set(flat(Config())) - {"memory__prototypes"}
    for name, value in OTHER_CHOICES.items():
        model = AnoMem("scratch", seed=3)
        before = model.get_params()
        assert before[f"config__{name}"] != value
        assert model.set_params(**{f"config__{name}": value}) is model
        expected = {**before, f"config__{name}": value, "config": model.config}
        assert model.get_params() == expected
        assert clone(model).get_params() == expected


def test_params_change_together_and_presets_resolve() -> None:
    model = AnoMem("paper").set_params(
        seed=5, config__memory__beta=4.0, config__memory__sizes=(10, 10)
    )
    memory = model.config.memory  # type: ignore[union-attr]
    assert (model.seed, memory.beta, memory.start) == (5, 4.0, "normals")
    assert model.set_params(config="scratch").get_params()["config__memory__beta"] == 10.0
    own = {"config": "scratch", "device": "auto", "devices": 1, "nodes": 1, "log": (), "seed": 5}
    assert model.get_params(deep=False) == own
    model = AnoMem().set_params(config__images__size=96)
    size = replace(scratch(), images=ImageChoices(size=96))
    assert model.config == Automatic(size, frozenset({"images__size"}))
    assert clone(model).get_params()["config__images__size"] == 96
    # A choice that is set is given, also as "scratch" has it; not so all that get_params gave.
    model.set_params(config__encoder__name="resnet10t")
    assert model.config == Automatic(size, frozenset({"images__size", "encoder__name"}))
    assert AnoMem().set_params(**AnoMem().get_params()).config == Automatic()
    assert AnoMem().set_params(**model.get_params()).config == model.config


def test_unknown_choices_and_presets_are_refused() -> None:
    with pytest.raises(ValueError, match="no choice 'memory__alpha'"):
        AnoMem().set_params(config__memory__alpha=1)
    with pytest.raises(ValueError, match="beta is -1"):
        AnoMem().set_params(config__memory__beta=-1)
    with pytest.raises(ValueError, match="no preset 'papr'; choose from auto, scratch, "):
        AnoMem("papr").fit(np.zeros((20, 16, 16), np.uint8))
    with pytest.raises(ValueError, match="device is 'gpu'; give auto, cpu"):
        AnoMem(device="gpu").fit(np.zeros((20, 16, 16), np.uint8))
