import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from running import HASTY, run

from anomem import AnoMem
from anomem.bulk.partitions import Partitions, plan, remove_outdated, score_shard
from anomem.images.open import open_images


@pytest.fixture
def cells(digits_as_cifar10: Path, tmp_path: Path) -> Path:
    """300 digits in row groups of 100, the row 7 broken."""
    table = parquet.read_table(digits_as_cifar10 / "test.parquet")[:300]
    images = table["image"].to_pylist()
    images[7]["bytes"] = b"no image"
    parquet.write_table(pa.table({"image": images}), tmp_path / "a.parquet", row_group_size=100)
    return tmp_path / "a.parquet"


def test_finished_partitions_of_rows_are_left_out(
    model: AnoMem, cells: Path, tmp_path: Path
) -> None:
    partitions = Partitions(str(tmp_path / "scores"))
    os.mkdir(tmp_path / "scores")
    shards = plan(open_images(cells), partitions, shard_size=200)
    assert [len(shard.images) for shard in shards] == [200, 100]
    scored = score_shard(model, shards[0], partitions, "0.05")
    assert (scored.images, scored.errors) == (200, 1)
    assert [shard.partition for shard in plan(open_images(cells), partitions, 200)] == [
        shards[1].partition
    ]
    table = parquet.read_table(tmp_path / "scores")  # as any reader of a folder does
    assert table["path"].to_pylist() == [f"{cells}#{row}" for row in range(200)]
    assert table["error"].null_count == 199
    again = [shard.partition for shard in plan(open_images(cells), partitions, 200)]
    os.utime(cells, ns=(0, 0))  # of the same size, and yet it may be another
    renewed = [shard.partition for shard in plan(open_images(cells), partitions, 200)]
    assert again == [shards[1].partition] and len(renewed) == 2
    assert partitions.names() == set(), "what was made of the earlier file is gone"


def test_files_that_are_in_a_partition_are_left_out(
    model: AnoMem, folders: dict[str, Path], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(folders["train"], images)
    partitions = Partitions("memory://scores-of-files")
    partitions._write("_made_by.json", b"{}")
    assert partitions.names() == set()
    shards = plan(open_images(images), partitions, shard_size=50)
    assert [len(shard.images) for shard in shards] == [50, 50, 20]
    for each in shards[1:]:
        score_shard(model, each, partitions, "0.05")
    shutil.copy(images / "lot0-000.png", images / "a-new.png")
    left = plan(open_images(images), partitions, shard_size=50)
    assert [len(shard.images) for shard in left] == [50, 1]
    assert left[0].images.names[0].endswith("a-new.png")


def rows_of(partitions: Partitions) -> dict[str, float]:
    """The score of each path; no path stands there twice."""
    rows = [row for _, table in partitions.read() for row in table.to_pylist()]
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row["score"] for row in rows}


@pytest.fixture
def ten(folders: dict[str, Path], tmp_path: Path) -> tuple[Path, Partitions]:
    """A folder of ten images, and where their partitions go."""
    images, scores = tmp_path / "images", tmp_path / "scores"
    images.mkdir()
    scores.mkdir()
    for file in sorted(folders["train"].iterdir())[:10]:
        shutil.copy(file, images)
    return images, Partitions(str(scores))


def test_a_file_that_is_replaced_is_scored_again(
    model: AnoMem, folders: dict[str, Path], ten: tuple[Path, Partitions]
) -> None:
    images, partitions = ten
    for each in plan(open_images(images), partitions, shard_size=4):
        score_shard(model, each, partitions, "0.05")
    before = rows_of(partitions)
    assert plan(open_images(images), partitions, shard_size=4) == []
    shutil.copy(folders["anomalous"] / "lot0-000.png", images / "lot0-003.png")
    (shard,) = plan(open_images(images), partitions, shard_size=4)
    assert list(shard.images.names) == [str(images / "lot0-003.png")]
    score_shard(model, shard, partitions, "0.05")
    after = rows_of(partitions)
    changed = [path for path, score in after.items() if score != before[path]]
    assert changed == [str(images / "lot0-003.png")] and after.keys() == before.keys()
    assert plan(open_images(images), partitions, shard_size=4) == []


def test_two_drivers_leave_one_row_an_image(
    model: AnoMem, folders: dict[str, Path], ten: tuple[Path, Partitions]
) -> None:
    images, partitions = ten
    first = plan(open_images(images), partitions)
    shutil.copy(folders["normal"] / "lot0-000.png", images / "a-new.png")
    second = plan(open_images(images), partitions)
    for each in [*first, *second]:
        score_shard(model, each, partitions, "0.05")
    assert sum(len(table) for _, table in partitions.read()) == 21
    for _ in range(2):  # as the last driver does, and a further call
        remove_outdated(open_images(images), partitions)
        assert len(rows_of(partitions)) == 11
    assert plan(open_images(images), partitions) == []


def test_a_partition_comes_whole(model: AnoMem, cells: Path, tmp_path: Path) -> None:
    partitions = Partitions(str(tmp_path / "scores"))
    os.mkdir(tmp_path / "scores")
    (shard, *_) = plan(open_images(cells), partitions, shard_size=100)
    score_shard(model, shard, partitions, "0.05")
    (tmp_path / "scores" / ".half-written").touch()
    assert partitions.names() == {shard.partition}


def test_another_model_or_rule_is_refused(model: AnoMem, tmp_path: Path) -> None:
    model.save(tmp_path / "one")
    model.scorer_.labels.fill_(7)
    model.save(tmp_path / "two")
    partitions = Partitions(str(tmp_path / "scores"))
    for _ in range(2):
        partitions.claim(tmp_path / "one", "0.05")
    partitions.claim(tmp_path / "one", "0.1")  # nothing has been scored yet
    partitions.claim(tmp_path / "one", "0.05")
    partitions.add("x.parquet", pa.table({"path": ["x.png"]}))
    partitions.claim(tmp_path / "one", "0.05")
    for other in ("two", "0.05"), ("one", "0.1"):
        with pytest.raises(ValueError, match=r"scores holds scores by another model or rule; give"):
            partitions.claim(tmp_path / other[0], other[1])


def test_a_folder_with_other_tables_is_refused(model_folder: Path, cells: Path) -> None:
    with pytest.raises(ValueError, match=r"holds other Parquet files; give another folder"):
        Partitions(f"file://{cells.parent}").claim(model_folder, "0.05")
    assert [file.name for file in cells.parent.iterdir()] == ["a.parquet"]


def test_rows_of_parquet_are_scored_here_too(
    model_folder: Path, cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.parquet"
    assert run("score", model_folder, cells, "--out", out, "--device", "cpu") == 3
    assert f"{cells}#7: not an image of a known format" in capsys.readouterr().err
    table = parquet.read_table(out)
    assert table["path"].to_pylist() == [f"{cells}#{row}" for row in range(300)]
    assert table["score"].null_count == 1
    words = ["score", model_folder, cells, "--heatmaps", "heat", "--out"]
    for where, said in (("s.csv", "heat maps are made of files"), ("s3://b/s.csv", "is a URL")):
        assert run(*words, where) == 1
        assert said in capsys.readouterr().err


def test_a_detector_learns_from_parquet(cells: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    parquet.write_table(parquet.read_table(cells)[10:], good)
    assert run("fit", good, "--out", tmp_path / "m", *HASTY) == 0
