"""Data sets of the literature by name, from local files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from PIL import Image
from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]
from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]

_CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True)
class NamedImages:
    """One part of a data set, for training or for testing.

    Attributes:
        images: N x H x W x 3, uint8.
        label: N, int64: the class of each image, a position in ``classes``.
        classes: Names of all classes, whether or not this part has images of each.
    """

    images: npt.NDArray[np.uint8]
    label: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def load_named(name: str, path: Path) -> tuple[NamedImages, NamedImages]:
    """Read a data set from local files; nothing is downloaded.

    Args:
        name: "cifar10", 60,000 photographs of 32 x 32 pixels in ten classes.
        path: For cifar10 a folder with ``train.parquet`` and ``test.parquet``, whose columns are
            ``image`` (a struct with ``bytes``, an encoded image) and ``label``; or the official
            archive: the file ``cifar-10-python.tar.gz``, the folder ``cifar-10-batches-py``, or
            the folder that holds either. Archives are checked against the official checksums
            before anything in them is read.

    Returns:
        The part for training and the part for testing.

    Raises:
        ValueError: The name is unknown, or files are missing, damaged or of another layout.
    """
    if name not in _READERS:
        known = ", ".join(_READERS)
        raise ValueError(f"{name!r} is no data set known by name; give one of: {known}.")
    return _READERS[name](path)


def _cifar10(path: Path) -> tuple[NamedImages, NamedImages]:
    files = [path / "train.parquet", path / "test.parquet"]
    if path.is_file():
        return _cifar10_file(path)
    if any(file.exists() for file in files):
        train, test = (_read_parquet(file, _CIFAR10_CLASSES, side=32) for file in files)
        return train, test
    if path.is_dir() and path.absolute().name == CIFAR10.base_folder:
        return _cifar10_folder(path.absolute().parent)
    if (path / CIFAR10.base_folder).is_dir():
        return _cifar10_folder(path)
    if (path / CIFAR10.filename).is_file():
        return _cifar10_file(path / CIFAR10.filename)
    raise ValueError(
        f"{path} holds no CIFAR-10; give a folder with train.parquet and test.parquet, with "
        f"{CIFAR10.base_folder} or with {CIFAR10.filename}."
    )


def _cifar10_file(file: Path) -> tuple[NamedImages, NamedImages]:
    if not check_integrity(file, CIFAR10.tgz_md5):
        raise ValueError(
            f"{file} is not the official {CIFAR10.filename} (its MD5 sum is another); "
            "download it again."
        )
    with TemporaryDirectory() as folder:
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
        return _cifar10_folder(Path(folder))


def _cifar10_folder(root: Path) -> tuple[NamedImages, NamedImages]:
    try:
        parts = [CIFAR10(root, train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise ValueError(
            f"{root / CIFAR10.base_folder} lacks files of the official archive or has others "
            f"(by their MD5 sums); unpack {CIFAR10.filename} again."
        ) from error
    train, test = (
        NamedImages(part.data, np.array(part.targets, np.int64), tuple(part.classes))
        for part in parts
    )
    return train, test


def _read_parquet(file: Path, classes: Sequence[str], side: int) -> NamedImages:
    """Read encoded images of side x side pixels and their labels."""
    if not file.is_file():
        raise ValueError(f"{file} is missing; put it beside the other part of the data set.")
    try:
        table = pyarrow.parquet.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} is no Parquet file that can be read; export it again.") from error
    _check_columns(file, table.schema)
    label = _labels(file, table, classes)
    encoded = pyarrow.compute.struct_field(table["image"], "bytes").to_pylist()
    images = np.empty((len(encoded), side, side, 3), np.uint8)
    for row, content in enumerate(encoded):
        images[row] = _decode(content, f"{file}, row {row}", side)
    return NamedImages(images, label, tuple(classes))


def _check_columns(file: Path, schema: pa.Schema) -> None:
    image = schema.field("image").type if "image" in schema.names else pa.null()
    label = schema.field("label").type if "label" in schema.names else pa.null()
    is_image = pa.types.is_struct(image) and image.get_field_index("bytes") >= 0
    if not (is_image and pa.types.is_integer(label)):
        found = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise ValueError(
            f"{file} has the columns {found}; give image (a struct with bytes) and label (integer)."
        )


def _labels(file: Path, table: pa.Table, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    label = table["label"].to_pylist()
    for row, value in enumerate(label):
        if value is None or not 0 <= value < len(classes):
            raise ValueError(
                f"{file}, row {row} has the label {value}; give 0 to {len(classes) - 1}."
            )
    if "label_name" in table.column_names:
        for row, name in enumerate(table["label_name"].to_pylist()):
            if name != classes[label[row]]:
                raise ValueError(
                    f"{file}, row {row} names its label {label[row]} {name!r}, but that is "
                    f"{classes[label[row]]!r}; number the classes in the official order."
                )
    return np.array(label, np.int64)


def _decode(content: bytes | None, name: str, side: int) -> npt.NDArray[np.uint8]:
    try:
        # Not EPS and the like, which start other programs.
        with Image.open(io.BytesIO(content or b""), formats=("PNG", "JPEG", "WEBP")) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name} holds no image that can be read; export it again.") from error
    if pixels.shape != (side, side, 3):
        height, width, _ = pixels.shape
        raise ValueError(f"{name} is {width} x {height} pixels; give images of {side} x {side}.")
    return pixels


_READERS = {"cifar10": _cifar10}
