import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

from anomem import AnoMem, load
from anomem.config.mapping import changed
from anomem.config.presets import pretrained, scratch
from anomem.detector.choose_preset import choose_preset
from anomem.detector.fit import FitRun, look_at
from anomem.images.frame_shape import TypicalImage
from anomem.images.open import open_images
from anomem.runtime.processes import join_processes

BRICK = data.brick()
PHOTOGRAPHS = np.stack([BRICK[top : top + 112, :160] for top in range(0, 400, 20)])


def typical(height: int, width: int) -> TypicalImage:
    return TypicalImage(height, width, min(height, width), height / width, True)


def test_photographs_take_the_pretrained_encoder_at_no_more_pixels_than_they_have() -> None:
    preset = pretrained()
    for height, width in ((900, 900), (300, 2000)):
        chosen = choose_preset(scratch(), typical(height, width))
        assert chosen.config == preset
        assert chosen.told == (
            f"pretrained, as images of {height} x {width} pixels are photographs and weights of "
            "tf_efficientnet_lite0 are on this machine; --preset scratch trains on these images "
            "alone"
        )
    small = choose_preset(scratch(), typical(100, 121)).config
    assert small == replace(preset, images=replace(preset.images, size=110))


@pytest.mark.parametrize(
    ("given", "image", "told"),
    [
        ({}, (99, 640), "99 pixels a side are less than 100"),
        ({"images__size": 96}, (900, 900), "96 pixels a side are less than 100"),
        ({"images__size": (64, 64), "images__framing": "tile"}, (900, 900), "64 pixels a side are"),
        ({"stage1__min_steps": 1200}, (900, 900), "stage1.min_steps is given; --preset pretrained"),
        ({"encoder__width": 32}, (900, 900), "encoder.width is given"),
        ({"encoder__name": "resnet14t"}, (900, 900), "no weights of resnet14t are on this machine"),
    ],
)
def test_what_trains_from_scratch(given: dict[str, Any], image: tuple[int, int], told: str) -> None:
    config = changed(scratch(), given)
    chosen = choose_preset(config, typical(*image))
    assert chosen.config is config and chosen.told.startswith(f"scratch, as {told}")


def test_choices_that_go_with_both_are_kept_with_the_pretrained_encoder() -> None:
    given = {
        "images__size": (256, 256),
        "images__framing": "tile",
        "encoder__scales": (2, 3),
        "stage2__prior": 3.0,
        "calibration__share": 0.3,
        "compute__precision": "float32",
    }
    config = choose_preset(changed(scratch(), given), typical(900, 900)).config
    assert config == changed(pretrained(), given)


def test_weights_that_are_asked_for_are_those_of_the_encoder(tmp_path: Path) -> None:
    for given in (
        {"encoder__name": "resnet18", "encoder__weights": str(tmp_path / "resnet18.pt")},
        {"encoder__name": "resnet18", "encoder__pretrained": True},
    ):
        encoder = choose_preset(changed(scratch(), given), typical(900, 900)).config.encoder
        assert encoder.frozen and encoder.name == "resnet18"
        assert encoder.weights == given.get("encoder__weights")
        assert encoder.pretrained == given.get("encoder__pretrained", False)


def test_the_region_and_the_tile_are_looked_at() -> None:
    def preset(config: Any, region: str | None = None) -> str | None:
        fabric = join_processes("cpu", "float32")
        run = FitRun(config, fabric, 0, automatic=True)
        return look_at(open_images(PHOTOGRAPHS), region, run)[0].preset

    tiles = {"images__size": (104, 104), "images__framing": "tile"}
    assert str(preset(scratch())).startswith("pretrained")
    assert str(preset(changed(scratch(), tiles))).startswith("pretrained")
    assert str(preset(scratch(), "0,0 0.5,0 0.5,1 0,1")).startswith("scratch, as 80 pixels")


def test_a_fit_says_and_keeps_what_it_chose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="anomem"):
        model = AnoMem(device="cpu").fit(PHOTOGRAPHS)
    told = model.summary_["preset"]
    assert f"preset {told}" in caplog.messages and told.startswith("pretrained, as images of 112 x")
    assert model.config_.encoder == pretrained().encoder
    model.save(tmp_path / "model")
    again = load(tmp_path / "model", device="cpu")
    assert again.summary_["preset"] == told and again.config_ == model.config_
    given = AnoMem(device="cpu").set_params(
        config__stage1__min_steps=2, config__stage1__max_steps=2
    )
    assert given.fit(PHOTOGRAPHS).summary_["preset"].startswith("scratch, as stage1.min_steps is")
    assert given.config_.encoder == scratch().encoder
