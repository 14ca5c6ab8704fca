import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from skimage import data
from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

from anomem.data.named import load_named

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def photographs() -> Images:
    """Twelve crops of a photograph, 12 x 32 x 32 x 3."""
    cat = data.chelsea()
    return np.stack([cat[100:132, left : left + 32] for left in range(0, 384, 32)])


def png(image: Images) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_parquet(
    file: Path, images: Iterable[Images], label: Sequence[int | None], **more: Sequence[str]
) -> None:
    column = [{"bytes": png(image), "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(column, kind), "label": pa.array(label, pa.int32()), **more}
    pyarrow.parquet.write_table(pa.table(columns), file)


@pytest.fixture
def parquet_folder(photographs: Images, tmp_path: Path) -> Path:
    names = ["ship", "truck", "airplane", "cat"]
    write_parquet(tmp_path / "train.parquet", photographs[:8], [0, 1, 2, 3, 4, 5, 6, 7])
    write_parquet(tmp_path / "test.parquet", photographs[8:], [8, 9, 0, 3], label_name=names)
    return tmp_path


@pytest.fixture
def official_folder(photographs: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The layout of the official archive with twelve images, and their checksums in its place."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(number: int) -> dict[str, object]:
        pair = photographs[2 * number : 2 * number + 2]
        return {"data": pair.transpose(0, 3, 1, 2).reshape(2, -1), "labels": [number, 9 - number]}

    train = [[f"data_batch_{n}", write(f"data_batch_{n}", batch(n - 1))] for n in range(1, 6)]
    test = [["test_batch", write("test_batch", batch(5))]]
    meta = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    return folder


@pytest.fixture
def official_file(official_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as an archive, in a folder of its own."""
    file = official_folder.parent / "download" / "cifar-10-python.tar.gz"
    file.parent.mkdir()
    with tarfile.open(file, "w:gz") as archive:
        archive.add(official_folder, official_folder.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(file.read_bytes()).hexdigest())
    return file


def test_parquet_files_give_images_labels_and_classes(
    parquet_folder: Path, photographs: Images
) -> None:
    train, test = load_named("cifar10", parquet_folder)
    np.testing.assert_array_equal(train.images, photographs[:8])
    np.testing.assert_array_equal(test.images, photographs[8:])
    assert train.images.dtype == np.uint8 and train.label.dtype == np.int64
    assert train.label.tolist() == list(range(8)) and test.label.tolist() == [8, 9, 0, 3]
    assert train.classes == test.classes == CLASSES


@pytest.mark.parametrize("given", ["folder", "its parent", "file", "its folder"])
def test_the_official_archive_is_read_in_each_form(
    given: str, official_folder: Path, official_file: Path, photographs: Images
) -> None:
    path = {
        "folder": official_folder,
        "its parent": official_folder.parent,
        "file": official_file,
        "its folder": official_file.parent,
    }[given]
    train, test = load_named("cifar10", path)
    np.testing.assert_array_equal(train.images, photographs[:10])
    np.testing.assert_array_equal(test.images, photographs[10:])
    assert train.label.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5] and test.label.tolist() == [5, 4]
    assert train.label.dtype == np.int64 and train.classes == test.classes == CLASSES


def test_the_official_folder_may_be_the_working_folder(
    official_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(official_folder)
    assert len(load_named("cifar10", Path("."))[0].images) == 10


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_nothing_is_unpickled_that_is_not_official(name: str, official_folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (official_folder / "sprung",)

    (official_folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"others \(by their MD5 sums\); unpack .* again\.$"):
        load_named("cifar10", official_folder)
    assert not (official_folder / "sprung").exists()


def test_an_archive_of_another_checksum_is_refused(official_file: Path) -> None:
    with official_file.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz is not the official .* again\.$"):
        load_named("cifar10", official_file)


def test_unknown_names_and_missing_files_are_told(parquet_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'cifar11' is no data set .* give one of: cifar10\.$"):
        load_named("cifar11", parquet_folder)
    for path in (tmp_path / "absent", CIFAR.parents[1]):
        with pytest.raises(ValueError, match=r"holds no CIFAR-10; give a folder with .*\.$"):
            load_named("cifar10", path)
    (parquet_folder / "test.parquet").unlink()
    with pytest.raises(ValueError, match=r"test\.parquet is missing; put it beside"):
        load_named("cifar10", parquet_folder)
    (parquet_folder / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"test\.parquet is no Parquet file that can be read"):
        load_named("cifar10", parquet_folder)


def test_wrong_columns_are_told(parquet_folder: Path) -> None:
    columns = {"img": ["a.png"], "label": [3]}
    pyarrow.parquet.write_table(pa.table(columns), parquet_folder / "train.parquet")
    with pytest.raises(ValueError, match=r"has the columns img \(string\), label \(int64\); give"):
        load_named("cifar10", parquet_folder)


@pytest.mark.parametrize("label", [10, -1, None])
def test_labels_out_of_range_are_told(
    label: int | None, parquet_folder: Path, photographs: Images
) -> None:
    write_parquet(parquet_folder / "train.parquet", photographs[:2], [0, label])
    with pytest.raises(ValueError, match=rf"row 1 has the label {label}; give 0 to 9\.$"):
        load_named("cifar10", parquet_folder)


def test_classes_in_another_order_are_told(parquet_folder: Path, photographs: Images) -> None:
    names = ["airplane", "cat"]
    write_parquet(parquet_folder / "train.parquet", photographs[:2], [0, 5], label_name=names)
    with pytest.raises(ValueError, match=r"row 1 names its label 5 'cat', but that is 'dog'; "):
        load_named("cifar10", parquet_folder)


def test_images_of_another_size_or_damaged_are_told(
    parquet_folder: Path, photographs: Images
) -> None:
    file = parquet_folder / "train.parquet"
    write_parquet(file, [photographs[0], photographs[1][:16]], [0, 1])
    with pytest.raises(ValueError, match=r"row 1 is 32 x 16 pixels; give images of 32 x 32\.$"):
        load_named("cifar10", parquet_folder)
    for damaged in (png(photographs[0])[:200], b"%!PS-Adobe-3.0 EPSF-3.0", None):
        columns = {"image": [{"bytes": damaged}], "label": [0]}
        pyarrow.parquet.write_table(pa.table(columns), file)
        with pytest.raises(ValueError, match=r"row 0 holds no image that can be read; export"):
            load_named("cifar10", parquet_folder)


@pytest.mark.skipif(not CIFAR.is_dir(), reason="CIFAR-10 is not beside the repository")
def test_the_real_test_images(tmp_path: Path) -> None:
    for name in ("train.parquet", "test.parquet"):
        (tmp_path / name).symlink_to(CIFAR / "test.parquet")
    _, test = load_named("cifar10", tmp_path)
    assert test.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(test.label).tolist() == [1000] * 10
    assert 100 < test.images.mean() < 140
