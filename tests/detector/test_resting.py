"""One odd image among the normals that were held out, and what a person does about it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import run

from anomem import AnoMem, Config, load
from anomem.config import CalibrationChoices, ScoreChoices
from anomem.decision.calibrate import Calibration
from anomem.decision.threshold import rests_on
from anomem.evaluation.evaluate import evaluate
from anomem.images.open import open_images
from anomem.report.evaluation import write_report

SCORES = [4.44, 1.35, 1.22, 1.2, 0.4, 0.1, -0.3, -0.8, -1.1]
NAMES = [f"good/{number}.png" for number in range(9)]


def test_it_is_the_one_that_lies_far_above_the_others() -> None:
    resting = rests_on(Calibration.of(SCORES), NAMES, 4.44)
    assert resting is not None
    assert (resting.name, resting.score) == ("good/0.png", 4.44)
    assert resting.lower == (1.35, 1.22, 1.2)
    assert "rests on this one image: good/0.png (score 4.44; the next are 1.35, 1.22, 1.20)" in str(
        resting
    )


def test_there_is_none_where_the_next_is_near_or_there_is_no_next() -> None:
    assert rests_on(Calibration.of(SCORES), NAMES, 1.35) is None
    assert rests_on(Calibration.of([2.0]), ["one.png"], 2.0) is None


def test_the_others_are_those_of_its_kind() -> None:
    scores = np.array([*SCORES, 4.0, 3.9, 3.8])
    kind = np.repeat([0, 1], [9, 3])
    calibration = Calibration(scores, np.arange(12), kind)
    resting = rests_on(calibration, [*NAMES, "x", "y", "z"], 4.44)
    assert resting is not None and resting.lower == (1.35, 1.22, 1.2)


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Path:
    """Normals as files of which one is to be torn."""
    folder = tmp_path_factory.mktemp("normals") / "good"
    shutil.copytree(folders["train"], folder)
    return folder


@pytest.fixture(scope="module")
def odd_model(torn: Path, hasty: Config, tiny: Config) -> tuple[AnoMem, str]:
    """Fitted where the lower half of one held-out normal is white, with the name of that one."""
    quarter = CalibrationChoices(share=0.25)  # 30, that one may go
    drawn = AnoMem(replace(hasty, calibration=quarter), device="cpu").fit(torn).bank_
    victim = drawn.held_out_name[3]
    pixels = np.asarray(Image.open(victim)).copy()
    pixels[len(pixels) // 2 :] = 255
    Image.fromarray(pixels).save(victim)
    config = replace(tiny, calibration=quarter, score=ScoreChoices())
    return AnoMem(config, device="cpu").fit(torn), victim


def test_a_person_sets_it_aside_and_the_threshold_falls(odd_model: tuple[AnoMem, str]) -> None:
    model, victim = odd_model
    resting = model.rests_on()
    assert resting is not None and resting.name == victim
    before, held_out = model.threshold(), model.summary_["held_out"]
    model.set_aside([victim])
    assert model.threshold() == resting.lower[0] < before
    assert model.summary_["held_out"] == held_out - 1 == len(model.calibration())
    assert model.summary_["set_aside"] == 1
    model.forget([victim])
    assert model.threshold() == before and model.summary_["set_aside"] == 0


def test_only_held_out_normals_are_set_aside_and_one_is_left(
    odd_model: tuple[AnoMem, str], torn: Path
) -> None:
    model, _ = odd_model
    trained_on = next(str(f) for f in torn.iterdir() if str(f) not in model.bank_.held_out_name)
    with pytest.raises(ValueError, match="is none of the held-out normals"):
        model.set_aside([trained_on])
    with pytest.raises(ValueError, match="no threshold could be set"):
        model.set_aside(list(model.bank_.held_out_name))
    assert model.summary_["set_aside"] == 0


def test_the_command_line_tells_it_sets_it_aside_and_takes_it_back(
    odd_model: tuple[AnoMem, str],
    folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, victim = odd_model
    out = tmp_path / "model"
    model.save(out)
    table = tmp_path / "scores.csv"
    for words in (
        ["score", out, folders["normal"], "--out", table],
        ["adapt", out, "--set-aside", victim, "--out", out],
        ["adapt", out, "--forget", victim, "--out", out],
    ):
        assert run(*words, "--json") == 0
        printed = capsys.readouterr().out
        told = json.loads(printed.splitlines()[-1])
        if "--set-aside" in words:
            # Which image is the next depends on how the processor rounds.
            assert (told["rests_on"] or {"name": None})["name"] != victim
            assert f"rests on this one image: {victim}" not in printed
        else:
            assert told["rests_on"]["name"] == victim
            assert f"rests on this one image: {victim} (score" in printed
    assert load(out).threshold() == model.threshold()


def test_the_report_shows_it_unless_the_file_is_another_by_now(
    odd_model: tuple[AnoMem, str], folders: dict[str, Path], tmp_path: Path
) -> None:
    model, victim = odd_model
    page = tmp_path / "report.html"
    sources = [open_images(sorted(folders[name].iterdir())[:3]) for name in ("normal", "anomalous")]
    examined = evaluate(model, *sources, rule="0.05")

    def written() -> str:
        write_report(model, examined, page, title="digits", rule="0.05")
        return page.read_text()

    html = written()
    assert "The threshold rests on one image" in html and f'alt="image of {victim}"' in html
    kept = Path(victim).read_bytes()
    try:
        shutil.copy(next(folders["anomalous"].iterdir()), victim)
        html = written()
        assert victim in html and f'alt="image of {victim}"' not in html
    finally:
        Path(victim).write_bytes(kept)
