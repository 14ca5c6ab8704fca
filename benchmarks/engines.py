"""Engines of ``anomem score``: images/s of each, and what each takes before its first image.

    python benchmarks/engines.py [--images 50000] [--side 256] [--tables] [--out engines.json]

Commands in processes of their own, in turn, on JPEG files or on Parquet files of them; fixed is
what a corpus of 16 images takes, most of it imports and, with Ray, its cluster and its actors.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import tyro

from scoring import fitted, written
from turns import in_turn, machine, show

_MAIN = "from anomem.cli.app import main; main()"
_FEW = 16
_ROWS = 1000
"""Of a row group, and ten times as many of a file."""


def as_tables(files: Sequence[Path], folder: Path) -> None:
    """The files as rows of Parquet files in a folder."""
    for start in range(0, len(files), 10 * _ROWS):
        images = [{"bytes": file.read_bytes()} for file in files[start : start + 10 * _ROWS]]
        table = pa.table({"image": images})
        parquet.write_table(table, folder / f"{start:09d}.parquet", row_group_size=_ROWS)


def score(model: Path, images: Path, engine: str, place: Path) -> None:
    """One command, its result thrown away."""
    out = place / ("scores" if engine == "ray" else "scores.parquet")
    words = ["score", str(model), str(images), "--engine", engine, "--out", str(out)]
    subprocess.run([sys.executable, "-c", _MAIN, *words], check=True, capture_output=True)
    if engine == "ray":
        shutil.rmtree(out)  # or the next call has nothing to do


def main(
    images: int = 50_000,
    side: int = 256,
    size: int = 64,
    tables: bool = False,
    rounds: int = 3,
    out: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        images: How many.
        side: Their side in pixels.
        size: Side in pixels that the detector looks at.
        tables: They are rows of Parquet files, not files.
        rounds: Measured rounds; one more warms up.
        out: JSON file for the table.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        corpora = {"few": place / "few", "all": place / "all"}
        files = []
        for corpus, count in zip(corpora.values(), (_FEW, images), strict=True):
            corpus.mkdir()
            (place / "files" / corpus.name).mkdir(parents=True)
            files = written(place / "files" / corpus.name if tables else corpus, count, side)
            if tables:
                as_tables(files, corpus)
        fitted(size, files, reduced=True).save(place / "model")
        seconds = in_turn(
            {
                f"{engine}, {which}": lambda e=engine, c=corpus: score(  # type: ignore[misc]
                    place / "model", c, e, place
                )
                for engine in ("local", "ray")
                for which, corpus in corpora.items()
            },
            rounds=rounds,
        )
    table: dict[str, Any] = {"machine": machine(), "images": images, "side": side, "size": size}
    table |= {"tables": tables, "rounds": rounds}
    for engine in ("local", "ray"):
        fixed, whole = (median(seconds[f"{engine}, {which}"]) for which in corpora)
        table[engine] = {
            "fixed_s": fixed,
            "images_per_s": images / whole,
            "images_per_s_without_fixed": (images - _FEW) / (whole - fixed),
        }
    show(table, out)


if __name__ == "__main__":
    tyro.cli(main)
