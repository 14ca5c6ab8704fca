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
from torchvision.datasets import CIFAR10, CIFAR100  # type: ignore[import-untyped]

from anomem_bench.datasets import Part, Parts, load_named
from anomem_bench.datasets.cifar import SUPERCLASSES

CIFAR = Path(__file__).parents[4] / "shared" / "data" / "cifar10"
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


def both(parts: Parts) -> tuple[Part, Part]:
    assert parts.train is not None
    return parts.train, parts.test


def pixels(part: Part) -> Images:
    return np.stack([part.images[row] for row in range(len(part))])


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
    train, test = both(load_named("cifar10", parquet_folder))
    np.testing.assert_array_equal(pixels(train), photographs[:8])
    np.testing.assert_array_equal(pixels(test), photographs[8:])
    assert train.label.dtype == np.int64
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
    train, test = both(load_named("cifar10", path))
    np.testing.assert_array_equal(pixels(train), photographs[:10])
    np.testing.assert_array_equal(pixels(test), photographs[10:])
    assert train.label.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5] and test.label.tolist() == [5, 4]
    assert train.label.dtype == np.int64 and train.classes == test.classes == CLASSES


def test_the_official_folder_may_be_the_working_folder(
    official_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(official_folder)
    assert len(load_named("cifar10", Path(".")).test) == 2


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


def test_missing_files_are_told_with_where_to_get_them(tmp_path: Path) -> None:
    for name, archive in (("cifar10", "cifar-10-python"), ("cifar100-fine", "cifar-100-python")):
        for path in (tmp_path / "absent", tmp_path):
            with pytest.raises(
                ValueError, match=rf"holds no CIFAR.* or with {archive}.*, which ht"
            ):
                load_named(name, path)


@pytest.fixture
def ten(photographs: Images, tmp_path: Path) -> Path:
    """A Parquet file of ten classes."""
    write_parquet(tmp_path / "ten.parquet", photographs[:10], list(range(10)))
    return tmp_path / "ten.parquet"


def test_superclasses_hold_each_class_once() -> None:
    classes = [name for words in SUPERCLASSES.values() for name in words.split()]
    assert len(SUPERCLASSES) == 20 and len(set(classes)) == len(classes) == 100


@pytest.fixture
def official_cifar100(photographs: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images in the layout of the official archive of CIFAR-100."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = sorted(name for words in SUPERCLASSES.values() for name in words.split())

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    for part, (first, fine) in {"train": (0, [2, 99]), "test": (2, [0, 51])}.items():
        data = photographs[first : first + 2].transpose(0, 3, 1, 2).reshape(2, -1)
        digest = write(part, {"data": data, "fine_labels": fine})
        monkeypatch.setattr(CIFAR100, f"{part}_list", [[part, digest]])
    meta = write("meta", {"fine_label_names": names})
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": meta})
    return folder


def test_cifar100_has_superclasses_or_classes(official_cifar100: Path, ten: Path) -> None:
    fine, coarse = (load_named(name, official_cifar100) for name in ("cifar100-fine", "cifar100"))
    assert fine.train is not None and coarse.train is not None
    assert len(fine.test.classes) == 100 and len(coarse.test.classes) == 20

    def named(part: Part) -> list[str]:
        return [part.classes[label] for label in part.label]

    assert (named(fine.train), named(fine.test)) == (["baby", "worm"], ["apple", "mushroom"])
    with pytest.raises(ValueError, match="has 10 classes and not the 20 superclasses; for single"):
        load_named("cifar100", ten)
    assert named(coarse.train) == ["people", "non-insect invertebrates"]
    assert named(coarse.test) == ["fruit and vegetables"] * 2


@pytest.mark.skipif(not CIFAR.is_dir(), reason="CIFAR-10 is not beside the repository")
def test_the_real_test_images(tmp_path: Path) -> None:
    for name in ("train.parquet", "test.parquet"):
        (tmp_path / name).symlink_to(CIFAR / "test.parquet")
    test = load_named("cifar10", tmp_path).test
    assert len(test) == 10_000 and test.images[0].shape == (32, 32, 3)
    assert np.bincount(test.label).tolist() == [1000] * 10
    assert 100 < np.mean([test.images[row].mean() for row in range(0, 10_000, 50)]) < 140
