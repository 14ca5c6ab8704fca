import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from running import run

from anomem import AnoMem
from anomem.bulk.score_table import score_table
from anomem.bulk.unfinished import Unfinished, finish_table, made_by
from anomem.images.open import open_images


def interrupt(*_: object) -> None:
    """Ctrl-C after the first batch."""
    raise KeyboardInterrupt


@pytest.fixture
def images(folders: dict[str, Path], tmp_path: Path) -> Path:
    """298 images, more than a batch, one of them empty."""
    for name in ("train", "normal", "anomalous"):
        shutil.copytree(folders[name], tmp_path / "images" / name)
    (tmp_path / "images" / "normal" / "lot0-000.png").write_bytes(b"")
    return tmp_path / "images"


def interrupted(model: AnoMem, images: Path, unfinished: Unfinished) -> None:
    with pytest.raises(KeyboardInterrupt):
        finish_table(model, open_images(images), unfinished, rule="0.05", progress=interrupt)


def test_an_interrupted_call_keeps_what_it_has_scored(
    model: AnoMem, images: Path, tmp_path: Path
) -> None:
    unfinished = Unfinished(tmp_path / "scores.csv", {"weights": "w", "rule": "0.05"})
    interrupted(model, images, unfinished)
    assert unfinished.file == tmp_path / "scores.csv.partial"
    kept = parquet.read_table(unfinished.file)
    assert len(kept) == 256
    told: list[tuple[str, int, int]] = []
    table = finish_table(
        model,
        open_images(images),
        unfinished,
        rule="0.05",
        progress=lambda *now: told.append(now),
    )
    whole = score_table(model, open_images(images))
    assert table.schema == whole.schema
    for column in ("path", "prediction", "error"):
        assert table[column] == whole[column]
    np.testing.assert_allclose(table["score"], whole["score"], rtol=0, atol=1e-5)
    assert told == [("scoring", 298, 298)], "255 are taken, and the empty file is tried again"


def test_a_second_call_scores_what_is_new_or_replaced(
    model: AnoMem, images: Path, tmp_path: Path
) -> None:
    unfinished = Unfinished(tmp_path / "scores.csv", {"weights": "w"})
    interrupted(model, images, unfinished)
    kept = parquet.read_table(unfinished.file)
    far = pa.array(np.full(256, 1e6, dtype=np.float32))  # tells a row that is taken from one anew
    parquet.write_table(kept.set_column(1, "score", far), unfinished.file)
    first, second = images / "anomalous" / "lot0-000.png", images / "anomalous" / "lot0-001.png"
    shutil.copy(images / "normal" / "lot0-001.png", first)
    os.utime(second, ns=(0, 0))
    (images / "a-new.png").write_bytes(second.read_bytes())
    table = finish_table(model, open_images(images), unfinished, rule="0.05")
    rows = zip(table["path"].to_pylist(), table["score"].to_pylist(), strict=True)
    taken = {path for path, score in rows if score == 1e6}
    assert len(table) == 299 and len(taken) == 255 - 2
    assert not {str(first), str(second), str(images / "a-new.png")} & taken


def test_rows_of_another_model_or_rule_and_damaged_files_are_not_taken(
    model: AnoMem, images: Path, tmp_path: Path
) -> None:
    unfinished = Unfinished(tmp_path / "scores.csv", {"weights": "w"})
    assert unfinished.read({}) == []
    interrupted(model, images, unfinished)
    source = open_images(images)
    versions = dict(zip(source.names, source.versions(), strict=True))  # type: ignore[attr-defined]
    assert [len(table) for table in unfinished.read(versions)] == [255]
    assert Unfinished(tmp_path / "scores.csv", {"weights": "v"}).read(versions) == []
    unfinished.file.write_bytes(unfinished.file.read_bytes()[:1000])
    assert unfinished.read(versions) == []


def test_score_goes_on_and_leaves_the_table_alone(
    model_folder: Path, model: AnoMem, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.parquet"
    unfinished = Unfinished(out, made_by(model_folder, "0.05"))
    interrupted(model, images, unfinished)
    assert run("score", model_folder, images, "--out", out, "--device", "cpu") == 3
    assert len(parquet.read_table(out)) == 298
    assert sorted(os.listdir(tmp_path)) == ["images", "scores.parquet"]


def test_a_path_given_twice_has_two_rows(model: AnoMem, images: Path, tmp_path: Path) -> None:
    file = str(images / "normal" / "lot0-001.png")
    unfinished = Unfinished(tmp_path / "scores.csv", {})
    table = finish_table(model, open_images([file, file]), unfinished, rule="0.05")
    assert table["path"].to_pylist() == [file, file] and table["score"][0] == table["score"][1]
    assert not unfinished.file.exists()


def test_a_name_that_is_too_long_with_more_behind_it_costs_no_table(
    model_folder: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    table = tmp_path / f"{'n' * 245}.csv"
    assert run("score", model_folder, folders["anomalous"], "--out", table) == 0
    assert table.stat().st_size > 0
