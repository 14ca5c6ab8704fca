import contextlib
import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from anomem import AnoMem
from anomem.bulk.score_table import (
    ScoreCounts,
    check_table,
    score_table,
    write_table,
)
from anomem.images.open import open_images


@pytest.fixture
def mixed(folders: dict[str, Path], tmp_path: Path) -> list[Path]:
    (tmp_path / 'a "b", c.png').touch()
    good = sorted(folders["anomalous"].iterdir())[:2]
    return [good[0], tmp_path / 'a "b", c.png', good[1]]


def test_a_row_an_image_in_the_order_given(model: AnoMem, mixed: list[Path]) -> None:
    table = score_table(model, open_images(mixed), rule="0.1")
    assert table.column_names == [
        *("path", "score", "scale_1", "scale_2", "p_value", "prediction", "verdict", "error")
    ]
    assert table["path"].to_pylist() == [str(path) for path in mixed]
    scores = model.decision_function([mixed[0], mixed[2]])
    assert table["score"].to_pylist() == [scores[0], None, scores[1]]
    p_values = model.p_value([mixed[0], mixed[2]])
    assert table["p_value"].to_pylist() == [p_values[0], None, p_values[1]]
    calls = (scores > model.threshold(0.1)).tolist()
    assert table["prediction"].to_pylist() == [calls[0], None, calls[1]]
    words = ["anomalous" if called else "normal" for called in calls]
    assert table["verdict"].to_pylist() == [words[0], None, words[1]]
    assert table["scale_1"].null_count == table["scale_2"].null_count == 1
    first, error, last = table["error"].to_pylist()
    assert first is None and last is None
    assert error == f"{mixed[1]}: the file is empty (0 bytes); remove it or export it again."


def test_types_do_not_depend_on_what_could_be_read(model: AnoMem, mixed: list[Path]) -> None:
    tables = [score_table(model, open_images(paths)) for paths in (mixed[:1], mixed[1:2])]
    assert tables[0].schema == tables[1].schema
    assert tables[0].schema.field("score").type == pa.float32()
    assert tables[0].schema.field("prediction").type == pa.int8()


def test_both_formats_come_back(model: AnoMem, mixed: list[Path], tmp_path: Path) -> None:
    table = score_table(model, open_images(mixed))
    write_table(table, tmp_path / "new" / "scores.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "new" / "scores.parquet") == table
    write_table(table, tmp_path / "scores.csv")
    again = pyarrow.csv.read_csv(tmp_path / "scores.csv")
    assert again["path"].to_pylist() == table["path"].to_pylist()
    np.testing.assert_allclose(
        again["score"].drop_null().to_numpy(), table["score"].drop_null().to_numpy(), rtol=1e-6
    )


def test_totals() -> None:
    assert ScoreCounts(3, 1, 2) + ScoreCounts(4, 0, 1) == ScoreCounts(7, 1, 3)


def test_other_suffixes_are_refused() -> None:
    for name in ("scores.txt", "scores", "scores.csv.gz"):
        with pytest.raises(ValueError, match=f"{name} is neither .csv nor .parquet"):
            check_table(name)
    check_table("scores.csv")
    check_table("scores.parquet")


def test_a_name_that_is_no_utf8_stands_in_both_formats(
    model: AnoMem, folders: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9\x1b[2J.png")
    shutil.copy(folders["normal"] / "lot0-000.png", file)
    (tmp_path / os.fsdecode(b"empty\xe9.png")).touch()
    table = score_table(model, open_images(tmp_path))
    good, empty = table["path"].to_pylist()
    assert good == f"{tmp_path.as_uri()}/caf%E9%1B%5B2J.png"
    assert open_images(good).names == [str(file)]
    assert table["error"].to_pylist()[1].startswith(rf"{tmp_path}/empty\xe9.png: the file is empty")
    for name in ("scores.csv", "scores.parquet"):
        write_table(table, tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text("utf-8").splitlines()))
    assert [row["path"] for row in rows] == [good, empty]
    assert pyarrow.parquet.read_table(tmp_path / "scores.parquet") == table


def test_no_cell_of_a_csv_file_is_a_formula(
    model: AnoMem, folders: dict[str, Path], tmp_path: Path
) -> None:
    names = ["=1+1.png", "+1.png", "-1.png", "@x.png", "plain.png", "\t=1.png"]
    with contextlib.chdir(tmp_path):
        for name in names[:-1]:
            shutil.copy(folders["normal"] / "lot0-000.png", name)
        Path(names[-1]).touch()
        Path("=empty.png").touch()
        table = score_table(model, open_images([*names, "=empty.png"]))
        write_table(table, Path("scores.csv"))
        rows = list(csv.DictReader(Path("scores.csv").read_text("utf-8").splitlines()))
        assert [open_images(row["path"]).names[0] for row in rows] == [
            *names[:-1],
            str(tmp_path / names[-1]),
            "=empty.png",
        ]
    cells = [cell for row in rows for cell in (row["path"], row["error"])]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)
    assert rows[-1]["error"].startswith("./=empty.png: the file is empty")


def test_a_score_that_is_not_finite_is_an_error_of_its_row(
    model: AnoMem, folders: dict[str, Path]
) -> None:
    source = open_images(sorted(folders["anomalous"].iterdir())[:3])
    model.scorer_.one_class_units.mean.fill_(torch.nan)
    table = score_table(model, source, rule="0.5")
    assert table["score"].null_count == table["prediction"].null_count == 3
    assert table["scale_1"].null_count == 3
    assert table["error"].to_pylist() == [
        f"{name}: the score is not finite; the model is damaged, fit it again."
        for name in source.names
    ]
    with pytest.raises(ValueError, match="the score is not finite"):
        model.decision_function(source)
