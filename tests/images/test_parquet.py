import io
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.open import open_images
from anomem.images.parquet import ParquetSource
from anomem.images.read import read
from anomem.images.resize import ImageShape

Digits = dict[str, npt.NDArray[np.uint8]]
Shard = Callable[..., Path]


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture
def shard(digits: Digits, tmp_path: Path) -> Shard:
    """Writes digits as Hugging Face's datasets does: a struct of bytes and path."""

    def write(name: str, first: int, stop: int, group: int, *, plain: bool = False) -> Path:
        contents = [png(pixels) for pixels in digits["train"][first:stop]]
        images = contents if plain else [{"bytes": each, "path": None} for each in contents]
        table = pa.table({"label": list(range(first, stop)), "image": images})
        parquet.write_table(table, tmp_path / name, row_group_size=group)
        return tmp_path / name

    return write


def test_rows_are_images_named_by_file_and_row(shard: Shard, digits: Digits) -> None:
    one, two = shard("a.parquet", 0, 50, 20), shard("b.parquet", 50, 120, 70, plain=True)
    for x in ([one, two], one.parent, f"{one.parent}/*.parquet", f"file://{one.parent}"):
        source = open_images(x)
        assert isinstance(source, ParquetSource) and len(source) == 120
        assert source.names[0] == f"{one}#0" and source.names[119] == f"{two}#69"
        assert list(source.names) == source.names[:] and len(set(source.names)) == 120
    for index in [*range(120), 119, 3, 44, 99, -1]:
        np.testing.assert_array_equal(source[index][..., 0], digits["train"][index])
    assert source.encoded(7) == png(digits["train"][7])
    with pytest.raises(IndexError):
        source[120]
    with pytest.raises(IndexError):
        source.names[120]


def test_in_order_a_row_group_is_read_once(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_images(shard("a.parquet", 0, 120, 50))
    read_groups = []
    whole = parquet.ParquetFile.iter_batches

    def counted(file: parquet.ParquetFile, *sizes: int, **options: list[int]) -> object:
        read_groups.append(options["row_groups"])
        return whole(file, *sizes, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    # One after the other, as threads may overtake each other between two groups.
    assert len([source[row] for row in range(120)]) == 120
    assert read_groups == [[0], [1], [2]]


def test_threads_may_read_at_random(shard: Shard, digits: Digits) -> None:
    source = open_images(shard("a.parquet", 0, 120, 50))
    order = np.random.default_rng(0).permutation(120).tolist()
    together = threading.Barrier(4)

    def one(part: list[int]) -> bool:
        together.wait()
        return all((source[index][..., 0] == digits["train"][index]).all() for index in part)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, [order[start::4] for start in range(4)]))


def test_runs_end_where_files_and_row_groups_end(shard: Shard) -> None:
    source = open_images([shard("a.parquet", 0, 50, 20), shard("b.parquet", 50, 120, 70)])
    assert isinstance(source, ParquetSource)
    assert source.runs(45) == [range(0, 40), range(40, 50), range(50, 95), range(95, 120)]
    assert source.runs(1000) == [range(0, 50), range(50, 120)]
    assert source.runs(15)[:3] == [range(0, 15), range(15, 20), range(20, 35)]
    for size in (1, 7, 20, 70):
        runs = source.runs(size)
        assert [index for run in runs for index in run] == list(range(120))
        assert max(map(len, runs)) <= size
    part = source.part(30, 80)
    assert part.runs(45) == [range(0, 20), range(20, 50)]


def test_a_part_travels_as_what_it_needs(shard: Shard, digits: Digits) -> None:
    files = [shard(f"{number}.parquet", 10 * number, 10 * number + 10, 5) for number in range(12)]
    source = open_images(files)
    assert isinstance(source, ParquetSource)
    source[45]  # opens a file
    part = pickle.loads(pickle.dumps(source.part(38, 52)))
    assert list(part.names) == source.names[38:52]
    assert [rows.file for rows in part.rows] == [str(file) for file in files[3:6]]
    for index in range(14):
        np.testing.assert_array_equal(part[index][..., 0], digits["train"][38 + index])
    assert list(part.part(2, 4).names) == source.names[40:42]


def test_a_bad_row_is_a_bad_image(tmp_path: Path, digits: Digits) -> None:
    good = png(digits["train"][0])
    cells = [good, None, b"no image", b"", good[:40]]
    images = [{"bytes": cell, "path": "x.png"} for cell in cells]
    parquet.write_table(pa.table({"image": [*images, None]}), tmp_path / "a.parquet")
    source = open_images(tmp_path / "a.parquet")
    errors = read(source, range(6), Framing("resize", ImageShape(1, 16, 16))).errors
    assert list(errors) == [1, 2, 3, 4, 5]
    for row in (1, 3, 5):
        told = f"a.parquet#{row}: the row has no image; export it again with the bytes"
        assert told in str(errors[row])
    assert "#2: not an image of a known format" in str(errors[2])
    assert "#4: the image is damaged or cut short" in str(errors[4])
    with pytest.raises(ImageError, match="#1: the row has no image"):
        source.encoded(1)


def test_a_large_jpeg_is_decoded_small(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (640, 480)).save(file, "jpeg")
    parquet.write_table(pa.table({"image": [file.getvalue()]}), tmp_path / "a.parquet")
    source = open_images(tmp_path / "a.parquet")
    assert source[0].shape == (480, 640, 1)
    assert source.reduced(0, 60).shape == (60, 80, 1)


def test_a_row_group_may_be_larger_than_what_is_held(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    parquet.write_table(pa.table({"image": [noise] * 1000}), tmp_path / "a.parquet",
                        use_dictionary=False, write_batch_size=10)  # fmt: skip
    source = open_images(tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    for index in range(1000):
        source.encoded(index)
        assert pa.total_allocated_bytes() - before < 10_000_000


def test_errors_say_what_to_do(tmp_path: Path, shard: Shard) -> None:
    good = shard("good.parquet", 0, 5, 5)
    image = tmp_path / "x.png"
    Image.new("L", (4, 4)).save(image)
    with pytest.raises(ValueError, match=r"x.png is an image but .* is a Parquet file; give one"):
        open_images([good, image])
    parquet.write_table(pa.table({"picture": [b"x"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other.parquet has the columns picture \(binary\); give"):
        open_images(tmp_path / "other.parquet")
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"none.parquet has no rows; give at least one image"):
        open_images(tmp_path / "none.parquet")
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-9])
    with pytest.raises(OSError, match=r"cut.parquet cannot be read \(Parquet magic bytes not"):
        open_images(tmp_path / "cut.parquet")
    source = open_images(good)
    good.write_bytes(b"PAR1" + bytes(good.stat().st_size - 4))
    with pytest.raises(OSError, match=r"good.parquet cannot be read .*; try again or export"):
        source[0]


def test_images_come_before_tables_in_a_folder(tmp_path: Path, shard: Shard) -> None:
    shard("labels.parquet", 0, 5, 5)
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    assert open_images(tmp_path).names == [str(tmp_path / "x.png")]
