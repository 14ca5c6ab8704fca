"""Sets that are folders of images: any, those in the layout of MVTec AD, VisA and CUB-200."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.images.listing import list_images
from anomem.images.local import FileSource
from anomem.images.source import ImageSource
from anomem_bench.datasets.parts import Part, Parts, first, part_of_files

_VISA = "https://github.com/amazon-science/spot-diff"
_CUB = "https://data.caltech.edu/records/65de6-vp158"
MVTEC = "https://www.mvtec.com/company/research/datasets/mvtec-ad"


def folder(path: Path) -> Parts:
    """Read a folder a class under ``train`` and ``test``; without these, test images alone.

    A class named good, normal or ok is the normal one. In a folder without folders all images are
    of one class, named as the folder.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; give one with train and test in it.")
    if (path / "test").is_dir() or (path / "train").is_dir():
        found = {name: _classed(path / name) for name in ("train", "test")}
        classes = first([name for files in found.values() for _, name in files])
        train, test = (part_of_files(files, classes) for files in found.values())
        return Parts(train, test)
    files = _classed(path)
    return Parts(None, part_of_files(files, first([name for _, name in files])))


def mvtec_ad(path: Path) -> Parts:
    """Read a category in the layout of MVTec AD (Bergmann et al., 2019).

    Args:
        path: The folder of the category, with ``train/good`` and ``test/KIND``.
    """
    if not (path / "train" / "good").is_dir() or not (path / "test").is_dir():
        categories = sorted(p.parent.parent.name for p in path.glob("*/train/good"))
        mend = f"give one of {', '.join(categories)} in it" if categories else f"see {MVTEC}"
        raise ValueError(f"{path} has no train/good and test; {mend}.")
    return folder(path)


def visa(path: Path) -> Parts:
    """Read one kind of object of VisA (Zou et al., 2022), in the official split for one class.

    Args:
        path: The folder of an object, such as ``VisA/candle``, beside the official
            ``split_csv/1cls.csv``.
    """
    table = path.parent / "split_csv" / "1cls.csv"
    if not table.is_file():
        raise ValueError(
            f"{table} is missing; give the folder of an object, as in VisA/candle, of the archive "
            f"that {_VISA} links to."
        )
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("object") == path.name]
    if not rows:
        raise ValueError(f"{table} has no row of {path.name!r}; give the folder of an object.")
    classes = first([row["label"] for row in rows])
    train, test = (
        part_of_files(
            [(path.parent / row["image"], row["label"]) for row in rows if row["split"] == split],
            classes,
        )
        for split in ("train", "test")
    )
    return Parts(train, test)


def cub200(path: Path) -> Parts:
    """Read CUB-200-2011: photographs of birds (Wah et al., 2011), cut to their bounding boxes.

    Args:
        path: The official folder ``CUB_200_2011`` with ``images``, ``images.txt``,
            ``train_test_split.txt`` and ``bounding_boxes.txt``; or a folder of classes under
            ``train`` and ``test``, with ``bounding_boxes.txt`` where the boxes are by path.
    """
    if (path / "CUB_200_2011").is_dir():
        path = path / "CUB_200_2011"
    if (path / "images.txt").is_file():
        return _official_cub(path)
    if not (path / "train").is_dir():
        raise ValueError(f"{path} holds no CUB-200-2011; get it from {_CUB}.")
    parts = folder(path)
    boxes = path / "bounding_boxes.txt"
    if not boxes.is_file() or parts.train is None:
        return parts
    by_name = _rows(boxes)
    return Parts(*(_cropped(part, by_name) for part in (parts.train, parts.test)))


def _classed(path: Path) -> list[tuple[Path, str]]:
    """All images of a folder with their classes, the first folder on the way to each."""
    return [
        (file, file.relative_to(path).parts[0] if file.parent != path else path.name)
        for file in list_images(path)
    ]


def _official_cub(path: Path) -> Parts:
    names = {key: row[0] for key, row in _rows(path / "images.txt").items()}
    trains = {key: row[0] == "1" for key, row in _rows(path / "train_test_split.txt").items()}
    boxes = {names[key]: row for key, row in _rows(path / "bounding_boxes.txt").items()}
    classes = sorted({name.split("/")[0] for name in names.values()})
    parts = []
    for train in (True, False):
        chosen = [name for key, name in names.items() if trains[key] == train]
        files = [(path / "images" / name, name.split("/")[0]) for name in chosen]
        parts.append(_cropped(part_of_files(files, classes), boxes))
    return Parts(*parts)


def _rows(file: Path) -> dict[str, list[str]]:
    """Words of each line by the first of them."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); unpack it again.") from error
    return {line.split()[0]: line.split()[1:] for line in lines if line.strip()}


class BoxedSource(ImageSource):
    """Reads image files, each cut to a box."""

    def __init__(self, names: Sequence[str], boxes: Sequence[Sequence[float]]) -> None:
        """Keep N paths, and x, y, width and height in pixels of the box of each."""
        self._files = FileSource([Path(name) for name in names])
        self._boxes = boxes
        self.names = self._files.names

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Read one image and cut it, keeping at least one pixel."""
        image = self._files[index]
        x, y, width, height = self._boxes[index]
        left, top = min(round(x), image.shape[1] - 1), min(round(y), image.shape[0] - 1)
        right, bottom = max(round(x + width), left + 1), max(round(y + height), top + 1)
        return np.ascontiguousarray(image[top:bottom, left:right])


def _cropped(part: Part, boxes: dict[str, list[str]]) -> Part:
    own = []
    for name in part.images.names:
        key = "/".join(Path(name).parts[-2:])
        if key not in boxes:
            raise ValueError(f"{name} has no line in bounding_boxes.txt; add it.")
        own.append([float(word) for word in boxes[key]])
    return Part(BoxedSource(part.images.names, own), part.label, part.classes)
