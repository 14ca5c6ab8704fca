"""VisA: twelve kinds of objects with defects (Zou et al., ECCV 2022)."""

from __future__ import annotations

import csv
from pathlib import Path

from anomem_bench.datasets.parts import Parts, first, part_of_files

_SOURCE = "https://github.com/amazon-science/spot-diff"


def visa(path: Path) -> Parts:
    """One kind of object, in the official split for one class.

    Args:
        path: The folder of an object, such as ``VisA/candle``, beside the official
            ``split_csv/1cls.csv``.
    """
    table = path.parent / "split_csv" / "1cls.csv"
    if not table.is_file():
        raise ValueError(
            f"{table} is missing; give the folder of an object, as in VisA/candle, of the archive "
            f"that {_SOURCE} links to."
        )
    with table.open(newline="") as file:
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
