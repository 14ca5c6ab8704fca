"""Manifests: files that list images with their labels and splits, as CSV or COCO."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomem.images.listing import local_path
from anomem.labelling.rows import Answer, Columns, Row, answer_of, as_text
from anomem.runtime.untrusted import read_json

SUFFIXES = (".csv", ".tsv", ".json")
_MOST = 2**30
"""Bytes of a COCO file."""
ANSWERS: tuple[Answer, Answer] = ("normal", "anomalous")
"""By the labels 0 and 1."""


def is_manifest(given: str) -> bool:
    """Tell whether a path is one of a manifest."""
    return given.lower().endswith(SUFFIXES) and os.path.isfile(local_path(given))


@dataclass(frozen=True)
class Manifest:
    """Lists images, each once.

    Attributes:
        file: That they stand in.
        rows: By path; of an image that stands there twice the last counts.
        labelled: Whether it says of any image what it is.
    """

    file: str
    rows: Sequence[Row]
    labelled: bool

    @staticmethod
    def read(file: str) -> Manifest:
        """Read a CSV file of columns image, label and split, or a COCO file.

        Paths are seen from the folder of the file. The columns are those of a table of answers
        (:class:`~anomem.labelling.rows.Columns`), of which label and split may be missing. In a
        COCO file (``images`` with ``file_name``, ``annotations`` with ``image_id``) an image is
        anomalous that has an annotation, unless its category is called as normal images are.

        Raises:
            ValueError: It cannot be understood; names its line where there is one.
            OSError: It cannot be read.
        """
        path = Path(local_path(file))
        if path.suffix.lower() == ".json":
            rows, labelled = _of_coco(path), True
        else:
            text = as_text(path, path.read_bytes())
            columns = Columns.of(path, text, answered=False)
            rows, labelled = columns.rows(text, 0), columns.answer is not None
        return Manifest(file, list({row.image: row for row in rows}.values()), labelled)

    @property
    def splits(self) -> list[str]:
        """Name the splits that it has, sorted."""
        return sorted({row.split for row in self.rows if row.split})

    def images(self, label: int | None = None, split: str | None = None) -> list[str]:
        """Give the paths of the images of a label and a split.

        Args:
            label: 0 normal, 1 anomalous; None takes all. Where nothing is said of any image, each
                is what it is given as.
            split: Its name; None takes all. Where no split is named all images are of each.

        Raises:
            ValueError: There are none.
        """
        wanted = split.lower() if split and self.splits else None
        answer = None if label is None or not self.labelled else ANSWERS[label]
        found = [
            row.image
            for row in self.rows
            if wanted in (None, row.split) and answer in (None, row.answer)
        ]
        if not found:
            what = f"{answer} image" if answer else "image"
            where = f" of the split {wanted} (it has {', '.join(self.splits)})" if wanted else ""
            raise ValueError(f"{self.file}: there is no {what}{where}; give others or --split.")
        return found


def _of_coco(file: Path) -> Iterator[Row]:
    try:
        content = read_json(file, _MOST)
        names = {each["id"]: each["name"] for each in content.get("categories", ())}
        odd = {
            each["image_id"]
            for each in content.get("annotations", ())
            if answer_of(str(names.get(each.get("category_id"), ""))) != "normal"
        }
        images: Sequence[dict[str, Any]] = content["images"]
        for each in images:
            below = local_path(str(each["file_name"]))
            path = os.path.normpath(os.path.join(os.path.abspath(file.parent), below))
            yield Row(path, ANSWERS[each["id"] in odd], str(each.get("split", "")).lower())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no COCO file ({type(error).__name__}: {error}); give one with images "
            "(id, file_name) and annotations (image_id), or a CSV file."
        ) from error
