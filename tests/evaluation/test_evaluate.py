from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from anomem import AnoMem, Config
from anomem.config import FramingKind
from anomem.config.mapping import changed
from anomem.detector.identity import image_digests
from anomem.evaluation.evaluate import Evaluation, Known, evaluate, groups, known_among
from anomem.images.open import open_images
from anomem.images.prepare import prepare_frames

Digits = dict[str, npt.NDArray[np.uint8]]

SCORE = np.array([-1.0, 0.9, 2.0, 3.0, 0.2, 1.1, 5.0, 1.2], np.float32)
EVALUATION = Evaluation(
    images=open_images(np.zeros((8, 4, 4, 1), np.uint8)),
    names=[f"folder/{number}" for number in range(8)],
    label=np.array([0, 0, 0, 0, 1, 1, 1, 1]),
    score=SCORE,
    threshold=1.0,
    mask_of=lambda _: None,
    known=Known(8, 0, 0, 0, 0, whole=True),
)


def test_errors_come_first_and_the_worst_of_them_before_the_others() -> None:
    misses, alarms, doubtful, anomalous = groups(EVALUATION)
    assert (misses.images, misses.total) == ([4], 1)
    assert (alarms.images, alarms.total) == ([3, 2], 2)
    assert doubtful.images == [1, 5, 7, 0, 6]
    assert (anomalous.images, anomalous.total) == ([], 3)


def test_an_image_is_shown_once() -> None:
    shown = [index for group in groups(EVALUATION) for index in group.images]
    assert len(shown) == len(set(shown))


def known(model: AnoMem, *images: npt.NDArray[np.uint8], trained: int = 0) -> Known:
    frames = prepare_frames(open_images(np.concatenate(images)), model.framing_)
    return known_among(image_digests(frames.frames, frames.image), model.bank_, trained)


def test_new_images_are_not_known(model: AnoMem, digits: Digits) -> None:
    found = known(model, digits["normal"], digits["anomalous"])
    assert not any(found.as_json().values()) and str(found) == ""


def test_each_image_counts_once_by_what_was_done_with_it_last(
    model: AnoMem, digits: Digits
) -> None:
    normals = digits["train"]
    before = known(model, normals)
    assert before.trained + before.held_out == len(normals) and before.held_out == 19
    model.adapt(np.concatenate([normals[:4], digits["anomalous"][:6]]), [0] * 4 + [1] * 6)
    after = known(model, normals, digits["anomalous"])
    assert after.labelled == 10
    assert after.trained + after.held_out == len(normals) - 4


def test_copies_are_counted_beside_the_first(model: AnoMem, digits: Digits) -> None:
    one = digits["normal"][:1]
    found = known(model, one, one, one, digits["normal"][1:3])
    assert found.copies == 2
    assert str(found) == "2 of 5 images are copies of others, pixel by pixel, and count again"


def test_of_many_trained_on_some_are_remembered(model: AnoMem, digits: Digits) -> None:
    few = replace(model.bank_, trained_digest=model.bank_.trained_digest[:7])
    model.bank_ = few
    found = known(model, digits["train"], trained=300)
    assert found.trained == 7 and not found.whole
    assert "7 or more trained on" in str(found)


def test_anomalies_of_the_fit_are_trained_on_also_when_forgotten(
    model: AnoMem, digits: Digits
) -> None:
    odd = digits["anomalous"][:5]
    model.adapt(odd, [1] * 5)
    model.bank_ = replace(model.bank_, learnt_pixels=torch.cat([model.bank_.labelled.pixels]))
    model.forget(odd)
    assert known(model, odd).trained == 5


@pytest.mark.parametrize("framing", ["resize", "tile"])
def test_files_are_known_however_they_become_frames(
    hasty: Config, digits: Digits, tmp_path: Path, framing: FramingKind
) -> None:
    """JPEG files of four times the frame, which are decoded at a reduced size, and tiles."""
    for name, images in (("train", digits["train"][:40]), ("odd", digits["anomalous"][:6])):
        (tmp_path / name).mkdir()
        for index, image in enumerate(images):
            large = Image.fromarray(image).resize((80, 72))
            large.save(tmp_path / name / f"{index:02}.jpg", quality=95)
    choices = changed(hasty, {"images__framing": framing})
    model = AnoMem(choices, device="cpu").fit(tmp_path / "train")
    model.adapt(tmp_path / "odd", [1] * 6)
    sources = [open_images(tmp_path / name) for name in ("train", "odd")]
    found = evaluate(model, *sources, rule="0.1").known
    assert found.trained + found.held_out == 40 and found.labelled == 6 and found.copies == 0
