from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from anomem import AnoMem
from anomem.data.sources import open_images
from anomem.table import (
    Scored,
    check_table,
    heat_map_files,
    score_table,
    total,
    write_table,
)


@pytest.fixture
def mixed(folders: dict[str, Path], tmp_path: Path) -> list[Path]:
    (tmp_path / 'a "b", c.png').touch()
    good = sorted(folders["anomalous"].iterdir())[:2]
    return [good[0], tmp_path / 'a "b", c.png', good[1]]


def test_a_row_an_image_in_the_order_given(model: AnoMem, mixed: list[Path]) -> None:
    table = score_table(model, open_images(mixed), rule="0.1")
    assert table.column_names == [
        *("path", "score", "scale_1", "scale_2", "p_value", "prediction", "error")
    ]
    assert table["path"].to_pylist() == [str(path) for path in mixed]
    scores = model.decision_function([mixed[0], mixed[2]])
    assert table["score"].to_pylist() == [scores[0], None, scores[1]]
    p_values = model.p_value([mixed[0], mixed[2]])
    assert table["p_value"].to_pylist() == [p_values[0], None, p_values[1]]
    calls = (scores > model.threshold(0.1)).tolist()
    assert table["prediction"].to_pylist() == [calls[0], None, calls[1]]
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
    assert total([]) == Scored(0, 0, 0)
    assert total([Scored(3, 1, 2), Scored(4, 0, 1)]) == Scored(7, 1, 3)


def test_other_suffixes_are_refused() -> None:
    for name in ("scores.txt", "scores", "scores.csv.gz"):
        with pytest.raises(ValueError, match=f"{name} is neither .csv nor .parquet"):
            check_table(name)
    check_table("scores.csv")
    check_table("scores.parquet")


def test_heat_maps_keep_the_folders_below_the_common_one() -> None:
    given = ["/data/a/x.png", "/data/b/x.png", "/data/b/x.jpg"]
    files = dict(heat_map_files(given, Path("heat")))
    assert files == {
        "/data/a/x.png": Path("heat/a/x.png"),
        "/data/b/x.png": Path("heat/b/x.png"),
        "/data/b/x.jpg": Path("heat/b/x.jpg.png"),
    }
    assert list(heat_map_files([], Path("heat"))) == []
    assert list(heat_map_files(["x.png"], Path("heat"))) == [("x.png", Path("heat/x.png"))]


def test_heat_map_never_replaces_its_image(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"precious")
    with pytest.raises(ValueError, match="would overwrite it; give another folder"):
        list(heat_map_files([str(tmp_path / "x.png")], tmp_path))
