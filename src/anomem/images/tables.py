"""Tables in memory that hold images or their paths: data frames, and Datasets of Hugging Face."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from anomem.images.errors import AGAIN, ImageError
from anomem.images.local import read_file
from anomem.images.source import EncodedSource, ImageSource

COLUMNS = ("image", "path", "file_name")
"""Of images or their paths; the first of them that a table has is taken."""


def column_of(table: object, columns: Sequence[object]) -> str:
    """Name the column of images or paths.

    Raises:
        TypeError: There is none.
    """
    found = next((name for name in COLUMNS if name in columns), None)
    if found is None:
        have = ", ".join(map(str, columns)) or "none"
        raise TypeError(
            f"This {type(table).__name__} has the columns {have} and none is called "
            f"{', '.join(COLUMNS)}; rename one, or give the column of paths alone."
        )
    return found


def is_hugging_face(x: object) -> bool:
    """Tell whether something is a table of Hugging Face ``datasets``, of any kind."""
    return type(x).__module__.partition(".")[0] == "datasets" and not isinstance(x, Sequence)


def open_hugging_face(x: Any) -> ImageSource | list[Any]:
    """Open the images of a Dataset, or give its column of paths.

    The column is that of a feature ``Image``, or else one of :data:`COLUMNS`.

    Raises:
        TypeError: It has no items by number, or no such column.
        ValueError: It is empty.
    """
    if not (hasattr(x, "cast_column") and hasattr(x, "select")):
        kind = type(x).__name__
        mend = f'one split, as x["{next(iter(x))}"]' if isinstance(x, dict) else "a Dataset"
        raise TypeError(f"A {kind} has no images by number; give {mend}.")
    from datasets import Image

    images = [name for name, feature in x.features.items() if isinstance(feature, Image)]
    column = column_of(x, images if images else x.column_names) if len(images) != 1 else images[0]
    if column not in images:
        return list(x[column])
    if not len(x):
        raise ValueError("The Dataset is empty; give at least one image.")
    return HuggingFaceSource(x.select_columns(column).cast_column(column, Image(decode=False)))


class HuggingFaceSource(EncodedSource):
    """Reads the column of encoded images of a Dataset, each when it is asked for.

    Args:
        dataset: With this column alone, not decoded.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset.with_format(None)
        (self._column,) = dataset.column_names
        self._lock = Lock()
        self.names = [f"image {index}" for index in range(len(dataset))]

    def encoded(self, index: int) -> bytes:
        """Give what the file of one image holds."""
        name = self.names[index]
        with self._lock:  # a Dataset promises no thread safety
            cell = self._dataset[range(len(self))[index]][self._column] or {}
        if cell.get("bytes"):
            content: bytes = cell["bytes"]
            return content
        if not cell.get("path"):
            raise ImageError(name, "the row has no image", AGAIN)
        return read_file(cell["path"])
