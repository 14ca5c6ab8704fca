"""A corpus in runs, each scored into one partition of its own; what is finished is not redone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from fsspec.implementations.local import LocalFileSystem

from anomem.data.listing import absolute
from anomem.data.parquet_rows import ParquetSource
from anomem.data.sources import FileSource, ImageSource, StoredSource
from anomem.data.urls import UrlSource, storage_of
from anomem.description import load_description
from anomem.detector import AnoMem
from anomem.table import Scored, score_table, scored

RUN = 10_240
"""Images of a run: a multiple of the batch, some ten seconds of a GPU, and a table of a MiB."""
_MADE_BY = "_made_by.json"
"""Readers of a folder of Parquet files leave out what begins so."""


@dataclass(frozen=True)
class Run:
    """Images that are scored together.

    Attributes:
        partition: Name of the file of their scores, which says what the run is.
        images: They themselves.
    """

    partition: str
    images: ImageSource


class Partitions:
    """A folder of partitions, here or on object storage.

    Attributes:
        folder: Its path or URL.
    """

    def __init__(self, folder: str) -> None:
        """Keep the folder; it need not exist yet."""
        self.folder = folder
        self._url = absolute(folder)

    def claim(self, model: Path, rule: str) -> None:
        """Write down which model and rule make the partitions.

        Raises:
            ValueError: Another model or rule has made those that are there.
        """
        description = load_description(model)
        digest = blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=8)
        made_by = {
            "weights": description["weights"],
            "description": digest.hexdigest(),
            "rule": rule,
        }
        storage, folder = storage_of(self._url)
        storage.makedirs(folder, exist_ok=True)
        known = storage.exists(f"{folder}/{_MADE_BY}")
        if known and json.loads(storage.cat_file(f"{folder}/{_MADE_BY}")) == made_by:
            return
        if self.names():
            what = "scores by another model or rule" if known else "other Parquet files"
            raise ValueError(f"{self.folder} holds {what}; give another folder.")
        self._write(_MADE_BY, json.dumps(made_by).encode())

    def names(self) -> set[str]:
        """The partitions that are finished."""
        storage, folder = storage_of(self._url)
        storage.invalidate_cache()
        files = (os.path.basename(file) for file in storage.ls(folder, detail=False))
        return {name for name in files if name.endswith(".parquet")}

    def read(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Each partition, or some columns of it."""
        storage, folder = storage_of(self._url)
        for name in sorted(self.names()):
            with storage.open(f"{folder}/{name}") as file:
                yield pyarrow.parquet.read_table(file, columns=columns)

    def add(self, name: str, table: pa.Table) -> None:
        """Write a partition whole or not at all."""
        file = BytesIO()
        pyarrow.parquet.write_table(table, file)
        self._write(name, file.getvalue())

    def _write(self, name: str, content: bytes) -> None:
        storage, folder = storage_of(self._url)
        temporary = f"{folder}/.{name}.{os.urandom(4).hex()}"
        with storage.open(temporary, "wb") as file:
            file.write(content)
            if isinstance(storage, LocalFileSystem):
                file.flush()
                os.fsync(file.fileno())
        storage.mv(temporary, f"{folder}/{name}")


def plan(source: ImageSource, partitions: Partitions, run_size: int = RUN) -> list[Run]:
    """The runs that are not finished.

    Rows of Parquet files are finished if their partition is there, other images if their path is in
    any partition.

    Raises:
        ValueError: The images are not in files, or a Parquet file has changed since it was scored.
    """
    if isinstance(source, ParquetSource):
        runs = [_rows(source.part(r.start, r.stop)) for r in source.runs(run_size)]
        finished = partitions.names()
        _refuse_changed(runs, finished)
        return [run for run in runs if run.partition not in finished]
    if not isinstance(source, FileSource | UrlSource):
        raise ValueError("A corpus lies in files; give folders, Parquet files or URLs.")
    left = _without(source, partitions)
    return [_files(left.part(r.start, r.stop)) for r in left.runs(run_size)]


def score_run(model: AnoMem, run: Run, partitions: Partitions, rule: str) -> Scored:
    """Score a run into its partition, as the table of a single machine is made."""
    table = score_table(model, run.images, rule=rule)
    partitions.add(run.partition, table)
    return scored(table)


def _rows(part: ParquetSource) -> Run:
    """A run within one Parquet file; its partition begins with the file, then its version."""
    (rows,) = part.rows
    version = _digest([str(rows.size), str(rows.ends[-1])])
    name = f"{_digest([rows.file])}-{version}-{rows.start}-{rows.stop}.parquet"
    return Run(name, part)


def _files(part: ImageSource) -> Run:
    return Run(f"{_digest(part.names)}.parquet", part)


def _refuse_changed(runs: list[Run], finished: set[str]) -> None:
    versions = dict(name.split("-")[:2] for name in finished if name.count("-") == 3)
    for run in runs:
        file, version, *_ = run.partition.split("-")
        if versions.get(file, version) != version:
            name = run.images.names[0].rpartition("#")[0]
            raise ValueError(f"{name} has changed since it was scored; give another folder.")


def _without(source: StoredSource, partitions: Partitions) -> StoredSource:
    """The images that are in no partition."""
    finished: set[str] = set()
    for table in partitions.read(["path"]):
        finished.update(table["path"].to_pylist())
    left = [name for name in source.names if name not in finished]
    return UrlSource(left) if isinstance(source, UrlSource) else FileSource([*map(Path, left)])


def _digest(what: Iterable[str]) -> str:
    return blake2b("\0".join(what).encode(), digest_size=12).hexdigest()
