"""Parquet files with encoded images, as Hugging Face ``datasets`` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from anomem.images.source import BytesSource
from anomem_bench.datasets.parts import Part, Parts

_FILES = ("train.parquet", "test.parquet")


def parquet(path: Path, classes: Sequence[str] = ()) -> Parts:
    """Read a folder with ``train.parquet`` and ``test.parquet``, or a file of test images.

    The columns are ``image`` (a struct with ``bytes``, an encoded image), ``label`` (an integer)
    and, where classes have names, ``label_name``.

    Args:
        path: The folder or the file.
        classes: Names of the classes, by label; where none are given they are those of the files.

    Raises:
        ValueError: A file is missing, damaged or of another layout, or a label is wrong.
    """
    files = [path] if path.is_file() else [path / name for name in _FILES]
    if not any(file.exists() for file in files):
        raise ValueError(
            f"{path} holds no train.parquet and test.parquet; give their folder, or one file of "
            "test images."
        )
    tables = [_table(file) for file in files]
    classes = classes or _classes(tables)
    *train, test = (_part(*pair, classes) for pair in zip(files, tables, strict=True))
    return Parts(train[0] if train else None, test)


def is_parquet(path: Path) -> bool:
    """Tell whether a set that may lie in other files too lies in Parquet files."""
    return path.suffix == ".parquet" or any((path / name).exists() for name in _FILES)


def _part(file: Path, table: pa.Table, classes: Sequence[str]) -> Part:
    contents = pyarrow.compute.struct_field(table["image"], "bytes").to_pylist()
    label = _labels(file, table, classes)
    rows = [f"{file}, row {row}" for row in range(len(contents))]
    return Part(BytesSource(contents, rows), label, tuple(classes))


def _classes(tables: Sequence[pa.Table]) -> list[str]:
    """Names of the classes by label, the label itself where it has no name."""
    names: dict[int, str] = {}
    for table in tables:
        if "label_name" in table.column_names:
            names |= dict(
                zip(*table.select(["label", "label_name"]).to_pydict().values(), strict=True)
            )
    most = max(pyarrow.compute.max(table["label"]).as_py() or 0 for table in tables)
    return [names.get(label) or str(label) for label in range(most + 1)]


def _table(file: Path) -> pa.Table:
    if not file.is_file():
        raise ValueError(f"{file} is missing; put it beside the other part of the data set.")
    try:
        table = pyarrow.parquet.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} is no Parquet file that can be read; export it again.") from error
    schema = table.schema
    image = schema.field("image").type if "image" in schema.names else pa.null()
    label = schema.field("label").type if "label" in schema.names else pa.null()
    is_image = pa.types.is_struct(image) and image.get_field_index("bytes") >= 0
    if not (is_image and pa.types.is_integer(label)):
        found = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise ValueError(
            f"{file} has the columns {found}; give image (a struct with bytes) and label (integer)."
        )
    if len(table) == 0:
        raise ValueError(f"{file} has no rows; give at least one image.")
    return table


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
