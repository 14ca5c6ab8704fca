from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from skimage import data

from anomem.images.decode import decode_bytes
from anomem.images.errors import ImageError
from anomem_bench.datasets import load_named
from anomem_bench.datasets.parquet import parquet

CAT = data.chelsea()
Encode = Callable[..., bytes]


def write_parquet(
    file: Path, contents: Sequence[bytes | None], label: Sequence[int | None], **more: Sequence[str]
) -> None:
    column = [{"bytes": content, "path": None} for content in contents]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(column, kind), "label": pa.array(label, pa.int32()), **more}
    pyarrow.parquet.write_table(pa.table(columns), file)


@pytest.fixture
def folder(encode: Encode, tmp_path: Path) -> Path:
    """Images of three sizes and two classes with names."""
    images = [encode(CAT[:20, :30]), encode(CAT[:40, :30]), encode(CAT[:25, :25])]
    write_parquet(tmp_path / "train.parquet", images[:2], [0, 1], label_name=["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", images[2:], [1], label_name=["dog"])
    return tmp_path


def test_images_of_any_size_are_decoded_when_asked_for(folder: Path) -> None:
    parts = load_named("parquet", folder)
    assert parts.train is not None
    assert parts.train.classes == parts.test.classes == ("cat", "dog")
    assert parts.train.label.tolist() == [0, 1] and parts.test.label.tolist() == [1]
    np.testing.assert_array_equal(parts.train.images[1], CAT[:40, :30])
    assert parts.train.images.names[1] == f"{folder / 'train.parquet'}, row 1"


def test_one_file_is_a_set_to_test_on(folder: Path) -> None:
    parts = load_named("parquet", folder / "test.parquet")
    assert parts.train is None and parts.test.classes == ("0", "dog")


def test_classes_without_names_have_numbers(encode: Encode, tmp_path: Path) -> None:
    write_parquet(tmp_path / "some.parquet", [encode(CAT)] * 2, [2, 0])
    assert parquet(tmp_path / "some.parquet").test.classes == ("0", "1", "2")


def test_missing_and_damaged_files_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no train.parquet and test.parquet; give their"):
        load_named("parquet", tmp_path / "absent")
    (folder / "test.parquet").unlink()
    with pytest.raises(ValueError, match=r"test\.parquet is missing; put it beside"):
        load_named("parquet", folder)
    (folder / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"test\.parquet is no Parquet file that can be read"):
        load_named("parquet", folder)
    write_parquet(folder / "test.parquet", [], [])
    with pytest.raises(ValueError, match=r"test\.parquet has no rows; give at least one image"):
        load_named("parquet", folder)


def test_wrong_columns_are_told(folder: Path) -> None:
    columns = {"img": ["a.png"], "label": [3]}
    pyarrow.parquet.write_table(pa.table(columns), folder / "train.parquet")
    with pytest.raises(ValueError, match=r"has the columns img \(string\), label \(int64\); give"):
        load_named("parquet", folder)


@pytest.mark.parametrize("label", [10, -1, None])
def test_labels_out_of_range_are_told(label: int | None, encode: Encode, folder: Path) -> None:
    write_parquet(folder / "train.parquet", [encode(CAT)] * 2, [0, label])
    with pytest.raises(ValueError, match=rf"row 1 has the label {label}; give 0 to "):
        load_named("cifar10", folder)


def test_classes_in_another_order_are_told(encode: Encode, folder: Path) -> None:
    names = ["airplane", "cat"]
    write_parquet(folder / "train.parquet", [encode(CAT)] * 2, [0, 5], label_name=names)
    with pytest.raises(ValueError, match=r"row 1 names its label 5 'cat', but that is 'dog'; "):
        load_named("cifar10", folder)


@pytest.mark.parametrize("content", [None, b"%!PS-Adobe-3.0 EPSF-3.0", b"cut"])
def test_damaged_images_are_told_when_asked_for(content: bytes | None, tmp_path: Path) -> None:
    write_parquet(tmp_path / "some.parquet", [content], [0])
    part = parquet(tmp_path / "some.parquet").test
    with pytest.raises(ImageError, match=r"some.parquet, row 0: "):
        part.images[0]
    if content is not None:
        with pytest.raises(ImageError, match=r"^it: "):
            decode_bytes(content, "it")
