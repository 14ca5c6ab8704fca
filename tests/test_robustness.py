"""Bad files, bad arrays and small sets: each works as one would expect or ends in one line."""

import csv
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from running import run

from anomem import AnoMem, Config, load

Digits = dict[str, npt.NDArray[np.uint8]]
Folders = dict[str, Path]

GOOD = {"cmyk.jpg", "dot.png", "grey.png", "one.png", "palette.png", "rgba.png", "turned.jpg"}
BAD = {
    "bomb.png": "decoding it takes 9 GB of memory and the limit is",
    "cut.jpg": "damaged or cut short",
    "cut.png": "damaged or cut short",
    "deep.tif": "the pixels are float32",
    "empty.png": "the file is empty (0 bytes)",
    "link.png": "which does not exist",
    "text.png": "not an image of a known format",
}


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


@pytest.fixture
def mixed(digits: Digits, tmp_path: Path) -> Path:
    """A folder with the files of GOOD and of BAD."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    grey = Image.fromarray(digits["normal"][0])
    grey.save(folder / "grey.png")
    grey.convert("RGB").convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    grey.convert("P").save(folder / "palette.png")
    grey.convert("RGBA").save(folder / "rgba.png")
    grey.convert("1").save(folder / "one.png")
    Image.new("L", (1, 1), 200).save(folder / "dot.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a quarter turn
    grey.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=95)
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(b""))
    (folder / "bomb.png").write_bytes(bomb)
    whole = (folder / "turned.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) - 40])
    (folder / "cut.png").write_bytes((folder / "grey.png").read_bytes()[:80])
    Image.fromarray(digits["normal"][0].astype(np.float32)).save(folder / "deep.tif")
    (folder / "empty.png").touch()
    (folder / "link.png").symlink_to(folder / "gone.png")
    (folder / "text.png").write_text("not a picture")
    return folder


def test_bad_files_get_a_row_with_their_error_and_the_rest_are_scored(
    model_folder: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, heat = tmp_path / "scores.csv", tmp_path / "heat"
    assert run("score", model_folder, mixed, "--out", out, "--heatmaps", heat) == 3
    told = capsys.readouterr().err
    with out.open(newline="") as lines:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(lines)}
    assert set(rows) == GOOD | set(BAD)
    for name in GOOD:
        assert np.isfinite(float(rows[name]["score"])) and not rows[name]["error"]
    for name, reason in BAD.items():
        row = rows[name]
        assert reason in row["error"] and row["error"].startswith(str(mixed / name))
        assert row["score"] == row["scale_1"] == row["prediction"] == ""
        assert told.count(row["error"]) == 1
    assert "Traceback" not in told
    assert {file.name for file in heat.iterdir()} == {f"{name}.heat.png" for name in GOOD}


def test_formats_that_hold_the_same_pixels_score_the_same(model: AnoMem, mixed: Path) -> None:
    plain, palette, rgba, cmyk, turned = model.decision_function(
        [mixed / f for f in ("grey.png", "palette.png", "rgba.png", "cmyk.jpg", "turned.jpg")]
    )
    np.testing.assert_allclose([palette, rgba], plain, atol=1e-5)
    np.testing.assert_allclose([cmyk, turned], plain, atol=1)  # JPEG is lossy


def test_only_bad_files(model_folder: Path, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    bad = [mixed / name for name in BAD]
    assert run("score", model_folder, *bad, "--out", out, "--heatmaps", tmp_path / "heat") == 1
    assert out.is_file()


def test_python_raises_where_a_file_is_bad(model: AnoMem, mixed: Path) -> None:
    with pytest.raises(ValueError, match=r"bomb.png: decoding it takes 9 GB of memory"):
        model.decision_function(mixed)
    with pytest.raises(ValueError, match=r"empty.png: the file is empty"):
        model.explain(mixed / "empty.png")
    with pytest.raises(ValueError, match=r"1 of 2 images cannot be read: .*text.png"):
        model.adapt([mixed / "grey.png", mixed / "text.png"], [1, 1])


def test_commands_that_need_every_file_name_the_bad_ones(
    model_folder: Path, folders: Folders, mixed: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "model"
    (mixed / "many").mkdir()
    for index, file in enumerate(sorted(folders["train"].iterdir())[:20]):
        (mixed / "many" / f"{index}.png").write_bytes(file.read_bytes())
    for words in (
        ("fit", mixed, "--out", out, "--images.size", 16, 16),
        ("fit", folders["train"], "--anomalies", mixed, "--out", out, "--images.size", 16, 16),
        ("adapt", model_folder, "--anomalies", mixed, "--out", out),
        ("evaluate", model_folder, "--normal", folders["normal"], "--anomalies", mixed),
    ):
        assert run(*words) == 1
        lines = capsys.readouterr().err.splitlines()
        told = [line for line in lines if line.strip() and "━" not in line]
        assert len(told) == 1 and str(mixed / "bomb.png") in told[0]
        assert not out.exists()


@pytest.mark.parametrize("command", ["fit", "score", "evaluate"])
def test_empty_folders_and_missing_paths(
    command: str, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, reason in ((empty, "the folder has no image"), (tmp_path / "no", "no such file")):
        words: dict[str, tuple[object, ...]] = {
            "fit": (path, "--out", tmp_path / "out"),
            "score": (model_folder, path, "--out", tmp_path / "out.csv"),
            "evaluate": (model_folder, "--normal", path, "--anomalies", path),
        }
        assert run(command, *words[command]) == 1
        told = capsys.readouterr().err.strip()
        assert told.startswith(f"anomem: {path}") and reason in told and "\n" not in told
    assert list(tmp_path.iterdir()) == [empty]


def test_one_image(model: AnoMem, hasty: Config, digits: Digits) -> None:
    assert model.decision_function(digits["normal"][:1]).shape == (1,)
    assert model.predict(digits["normal"][:1]).shape == (1,)
    model.adapt(digits["anomalous"][:1], [1])
    with pytest.raises(ValueError, match=r"^1 normal image is too few"):
        AnoMem(hasty, device="cpu").fit(digits["normal"][:1])


def test_fewer_normals_than_a_batch(hasty: Config, digits: Digits) -> None:
    assert hasty.stage1.batch > 6
    model = AnoMem(hasty, device="cpu").fit(digits["train"][:12], anomalies=digits["anomalous"][:1])
    assert np.isfinite(model.decision_function(digits["anomalous"])).all()


def test_images_all_alike(hasty: Config) -> None:
    """Normals without any variation are one image and its copies."""
    with pytest.raises(ValueError, match="only 1 of 20 normals are different"):
        AnoMem(hasty, device="cpu").fit(np.full((20, 16, 16), 7, np.uint8))


def test_images_nearly_alike_or_each_of_one_colour(hasty: Config, digits: Digits) -> None:
    rng = np.random.default_rng(0)
    last_bit = digits["train"][:1] // 2 * 2 + rng.integers(0, 2, (20, 16, 16), np.uint8)
    with pytest.warns(UserWarning, match="hardly differ from one another .a pixel varies by 0.5"):
        AnoMem(hasty, device="cpu").fit(last_bit)
    grey = rng.permutation(256)[:20].astype(np.uint8)
    plain = np.broadcast_to(grey[:, None, None], (20, 16, 16)).copy()
    with pytest.warns(UserWarning, match="show hardly anything .a pixel varies by 0 of"):
        AnoMem(hasty, device="cpu").fit(plain)


BAD_ARRAYS: list[tuple[Any, str]] = [
    (np.full((20, 16, 16), np.nan), "has dtype float64 and holds NaN; replace it and give uint8"),
    (np.full((20, 16, 16), 0.5), r"0.5 to 0.5; give \(255 \* X\).round\(\).astype\('uint8'\)\."),
    (np.full((20, 16, 16), 225.0), r"from 225 to 225; give X.round\(\).astype\('uint8'\)\."),
    (np.full((20, 16, 16), -1.0), "from -1 to -1; scale it to 0 to 255 and give uint8"),
    (np.zeros((20, 16, 16), np.int64), r"dtype int64 and .* 0 to 0; give X.astype\('uint8'\)\."),
    (np.full((20, 16, 16), 256), r"from 256 to 256; give X.astype\('uint16'\)\."),
    (np.full((20, 16, 16), 65536), "from 65536 to 65536; scale it to 0 to 255"),
    (np.zeros((20, 16, 16), bool), r"dtype bool and .*; give \(255 \* X\)"),
    (np.zeros((20, 16, 16), complex), "has dtype complex128; give uint8 or uint16"),
    (np.zeros((16, 16), np.uint8), r"is one image of shape 16 x 16; give a batch, X\[None\]"),
    (np.zeros((20, 3, 16, 16), np.uint8), "has its channels first; move them last"),
    (np.zeros((20, 16, 16, 4), np.uint8), "has 4 channels; leave out the transparency"),
    (np.zeros((20, 16, 16, 2), np.uint8), "has the shape 20 x 16 x 16 x 2"),
    (np.zeros((0, 16, 16), np.uint8), "is empty; give at least one image"),
    ([], "The list is empty; give at least one image"),
    (None, "NoneType holds no images"),
    (3, "int holds no images"),
    ([np.zeros((16, 16), np.uint8), "a.png"], "Item 1 of the list is a path but item 0 is"),
]


@pytest.mark.parametrize(("images", "message"), BAD_ARRAYS)
def test_wrong_arrays_are_told_in_a_sentence(
    images: Any, message: str, model: AnoMem, hasty: Config
) -> None:
    for call in (model.decision_function, AnoMem(hasty, device="cpu").fit):
        with pytest.raises((ValueError, TypeError), match=message) as told:
            call(images)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("spoil", ["description", "weights", "format", "no weights", "other"])
def test_a_damaged_model_is_told_in_a_sentence(spoil: str, model: AnoMem, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model.save(folder)
    description = folder / "model.json"
    (weights,) = folder.glob("weights-*")
    text = description.read_text()
    if spoil == "description":
        description.write_text(text[: len(text) // 2])
    elif spoil == "weights":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif spoil == "format":
        description.write_text(re.sub(r'"format_version": \d+', '"format_version": 99', text))
    elif spoil == "no weights":
        weights.unlink()
    else:
        description.write_text(text.replace('"beta": 10.0', '"beta": 10.0, "alpha": 1'))
    with pytest.raises(ValueError, match=str(folder)) as told:
        load(folder)
    assert "\n" not in str(told.value)


def test_anomalies_inside_the_folder_of_normals_are_told(folders: Folders, hasty: Config) -> None:
    normals = folders["train"]
    first = sorted(normals.iterdir())[0]
    with pytest.raises(ValueError, match="among the normals and among the anomalies"):
        AnoMem(hasty, device="cpu").fit(normals, anomalies=first)
