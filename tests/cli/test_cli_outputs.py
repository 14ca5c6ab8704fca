"""What the commands write, where they may not, and what is left when they cannot."""

import contextlib
import csv
import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
from PIL import Image
from running import HASTY, Command, files_of_at_most, run

from anomem.detector.model_info import load_description

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def strange(folders: dict[str, Path], tmp_path: Path) -> Path:
    """Images whose names are no UTF-8, no plain text, formulas."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for name in (b"caf\xe9.png", b"\x1b[2J.png", b"=1+1.png", "é→.png".encode()):
        shutil.copy(folders["anomalous"] / "lot0-000.png", folder / os.fsdecode(name))
    (folder / os.fsdecode(b"broken\xff.png")).write_bytes(b"no image")
    return folder


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_of_any_kind_lose_neither_table_nor_pictures_nor_report(
    encoding: str, strange: Path, model_folder: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    out, heat = tmp_path / "scores.csv", tmp_path / "heat"
    score = ("score", model_folder, strange, "--out", out, "--heatmaps", heat, "--json")
    done = Command(*score, PYTHONIOENCODING=encoding)
    assert done.ended() == 3 and b"Traceback" not in done.err
    assert rb"broken\xff.png: " in done.err and b"\x1b" not in done.err + done.out
    told = json.loads(done.out.splitlines()[-1])
    assert (told["images"], told["errors"]) == (5, 1)
    with out.open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 5 and sum(bool(row["score"]) for row in rows) == 4
    assert len(list(heat.iterdir())) == 4
    (strange / os.fsdecode(b"broken\xff.png")).unlink()
    report = tmp_path / "report.html"
    words = ("evaluate", model_folder, "--normal", folders["normal"], "--anomalies", strange)
    done = Command(*words, "--report", report, PYTHONIOENCODING=encoding)
    assert done.ended() == 0, done.err
    assert b"auroc" in done.out
    page = report.read_text("utf-8")
    assert r"caf\xe9.png" in page and "é→.png" in page


@pytest.mark.skipif(not Path("/proc").exists(), reason="nothing can be written in /proc")
def test_every_output_is_tried_before_the_work(
    model_folder: Path, folders: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    nowhere, normal = Path("/proc/nowhere"), folders["normal"]
    score = ("score", model_folder, normal, "--out")
    asked = ("--normal", normal, "--anomalies", folders["anomalous"])
    some = ("--anomalies", folders["anomalous"])
    for words in (
        ("fit", normal, "--out", nowhere),
        ("adapt", model_folder, *some, "--out", nowhere),
        ("fit", normal, "--from", model_folder, "--out", nowhere),
        (*score, nowhere / "scores.csv"),
        (*score, tmp_path / "scores.csv", "--heatmaps", nowhere),
        ("evaluate", model_folder, *asked, "--report", nowhere / "report.html"),
        ("explain", model_folder, normal, "--out", nowhere),
        ("prototypes", model_folder, normal, "--out", nowhere),
        ("demo", "--out", nowhere),
        ("bench", "merge", tmp_path, "--out", nowhere),
    ):
        assert run(*words) != 0
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("anomem: /proc/nowhere") and "cannot be written (" in told, words
    assert os.listdir(tmp_path) == []


def test_heat_maps_among_the_images_or_over_photographs_are_refused_before_the_work(
    model_folder: Path, folders: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    images, other = tmp_path / "images", tmp_path / "other"
    shutil.copytree(folders["normal"], images)
    out = tmp_path / "scores.csv"
    for heat in (images, images / "heat"):
        assert run("score", model_folder, images, "--out", out, "--heatmaps", heat) != 0
        assert "lies among the images" in capsys.readouterr().err
    other.mkdir()
    photograph = other / "lot0-000.png.heat.png"
    Image.new("L", (8, 8)).save(photograph)
    assert run("score", model_folder, images, "--out", out, "--heatmaps", other) != 0
    assert "is there and is no heat map" in capsys.readouterr().err
    assert not out.exists() and os.listdir(other) == [photograph.name]
    photograph.unlink()
    for _ in range(2):  # our own are replaced
        assert run("score", model_folder, images, "--out", out, "--heatmaps", other) == 0
    assert len(os.listdir(other)) == len(os.listdir(images)) == 58


def test_one_heat_map_that_fails_is_told_and_the_others_are_written(
    model_folder: Path, folders: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number, side in enumerate((16, 16, 600)):
        with Image.open(folders["anomalous"] / "lot0-000.png") as image:
            image.resize((side, side)).save(images / f"{number}.png")
    out, heat = tmp_path / "scores.csv", tmp_path / "heat"
    words = ("score", model_folder, images, "--out", out, "--heatmaps", heat)
    with files_of_at_most(30_000):
        assert run(*words) != 0
    told = capsys.readouterr()
    assert f"no heat map of {images / '2.png'}: " in told.err and "File too large" in told.err
    assert "3 images" in told.out
    assert sorted(os.listdir(heat)) == ["0.png.heat.png", "1.png.heat.png"]
    assert len(out.read_text().splitlines()) == 4


def test_a_full_disk_leaves_the_old_table_and_the_old_report_and_the_figures_are_told(
    model_folder: Path, folders: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    table, report = tmp_path / "scores.csv", tmp_path / "report.html"
    for file in (table, report):
        file.write_text("old")
    some = folders["anomalous"] / "lot0-00*.png"
    asked = ("--normal", folders["normal"], "--anomalies", some)
    with files_of_at_most(4500):
        assert run("score", model_folder, folders["normal"], "--out", table) == 1
        told = capsys.readouterr().err
        assert f"anomem: {table} cannot be written (File too large); free some space" in told
        assert run("evaluate", model_folder, *asked, "--report", report) == 1
        evaluated = capsys.readouterr()
    assert f"{report} cannot be written (File too large)" in evaluated.err
    assert "auroc" in evaluated.out
    assert table.read_text() == report.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["report.html", "scores.csv"]


def test_a_fit_goes_on_where_no_checkpoint_can_be_kept(
    folders: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "model"
    with files_of_at_most(20_000), warnings.catch_warnings():
        warnings.simplefilter("default")  # else pytest makes an error of it
        assert run("fit", folders["train"], "--out", out, *HASTY) == 1
    warned, told = capsys.readouterr().err.splitlines()
    assert f"{out}.checkpoint cannot be written (File too large)" in warned
    assert "The training goes on without it." in warned
    assert "model/weights-" in told and "cannot be written (File too large)" in told
    assert run("fit", folders["train"], "--out", out, *HASTY) == 0
    assert load_description(out)["summary"]["steps"] == 3 and os.listdir(tmp_path) == ["model"]


def test_a_model_goes_into_an_empty_folder_a_link_and_the_folder_one_is_in(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("empty", "behind", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "behind")
    for out in (tmp_path / "empty", tmp_path / "link"):
        assert run("fit", folders["train"], "--out", out, *HASTY) == 0
    with contextlib.chdir(tmp_path / "here"):
        assert run("fit", folders["train"], "--out", ".", *HASTY) == 0
    assert all((tmp_path / name / "model.json").exists() for name in ("empty", "behind", "here"))
    assert sorted(os.listdir(tmp_path)) == ["behind", "empty", "here", "link"]
