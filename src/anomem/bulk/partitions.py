"""A corpus in shards, each scored into a partition of one table; what is finished is not redone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from fsspec.implementations.local import LocalFileSystem

from anomem.bulk.score_table import ScoreCounts, score_table
from anomem.bulk.unfinished import made_by
from anomem.decision.ready import ReadyDetector
from anomem.images.listing import absolute
from anomem.images.local import FileSource
from anomem.images.object_store import UrlSource, storage_of
from anomem.images.parquet import ParquetSource, Rows
from anomem.images.source import ImageSource, StoredSource
from anomem.runtime.files import write_bytes
from anomem.runtime.printing import path_as_text
from anomem.runtime.untrusted import parse_json

SHARD_SIZE = 10_240
"""Images of a shard: a multiple of the batch, some ten seconds of a GPU, and a table of a MiB."""
_MADE_BY = "_made_by.json"
"""Readers of a folder of Parquet files leave out what begins so."""


@dataclass(frozen=True)
class Shard:
    """Names images that are scored together.

    Attributes:
        partition: Name of the file of their scores, which says what the shard is.
        images: They themselves.
        versions: Of the file of each of them, as it was before it was read.
    """

    partition: str
    images: ImageSource
    versions: Sequence[str]


class Partitions:
    """Keeps a folder of partitions, here or on object storage.

    Attributes:
        folder: Its path or URL; it need not exist yet.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._url = absolute(folder)

    def claim(self, model: Path, rule: str) -> None:
        """Write down which model and rule make the partitions.

        Raises:
            ValueError: Another model or rule has made those that are there.
        """
        maker = made_by(model, rule)
        storage, folder = storage_of(self._url)
        storage.makedirs(folder, exist_ok=True)
        known = storage.exists(f"{folder}/{_MADE_BY}")
        if known:
            with suppress(ValueError):  # it is damaged and says nothing
                if parse_json(storage.cat_file(f"{folder}/{_MADE_BY}")) == maker:
                    return
        if self.names():
            what = "scores by another model or rule" if known else "other Parquet files"
            raise ValueError(f"{self.folder} holds {what}; give another folder.")
        self._write(_MADE_BY, json.dumps(maker).encode())

    def names(self) -> set[str]:
        """List the partitions that are finished."""
        storage, folder = storage_of(self._url)
        storage.invalidate_cache()
        files = (os.path.basename(file) for file in storage.ls(folder, detail=False))
        return {name for name in files if name.endswith(".parquet")}

    def read(self, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Yield the name of each partition and its table, or some columns of it."""
        for name in sorted(self.names()):
            if (table := self.table(name, columns)) is not None:
                yield name, table

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table | None:
        """Read one partition, or some columns; None where another process has removed it."""
        storage, folder = storage_of(self._url)
        try:
            with storage.open(f"{folder}/{name}") as file:
                return pyarrow.parquet.read_table(file, columns=columns)
        except FileNotFoundError:
            return None

    def add(self, name: str, table: pa.Table) -> None:
        """Write a partition whole or not at all; one of the name is replaced."""
        file = BytesIO()
        pyarrow.parquet.write_table(table, file)
        self._write(name, file.getvalue())

    def remove(self, name: str) -> None:
        """Remove a partition."""
        storage, folder = storage_of(self._url)
        with suppress(FileNotFoundError):  # another process was faster
            storage.rm(f"{folder}/{name}")

    def _write(self, name: str, content: bytes) -> None:
        storage, folder = storage_of(self._url)
        if isinstance(storage, LocalFileSystem):
            write_bytes(Path(folder, name), content)
            return
        temporary = f"{folder}/.{name}.{os.urandom(4).hex()}"
        storage.pipe_file(temporary, content)
        storage.mv(temporary, f"{folder}/{name}")


def plan(source: ImageSource, partitions: Partitions, shard_size: int = SHARD_SIZE) -> list[Shard]:
    """List the shards that are not finished.

    Rows of Parquet files are finished if their partition is there, other images if they have a row
    in any partition. What was made of a file that has been replaced since is removed.

    Raises:
        ValueError: The images are not in files.
    """
    finished = remove_outdated(source, partitions)
    if isinstance(source, ParquetSource):
        shards = [_of_rows(source.part(r.start, r.stop)) for r in source.runs(shard_size)]
        return [shard for shard in shards if shard.partition not in finished]
    assert isinstance(source, StoredSource)
    images = dict(zip(source.names, source.versions(), strict=True))
    left = [name for name in images if path_as_text(name) not in finished]
    shards = []
    for start in range(0, len(left), shard_size):
        names = left[start : start + shard_size]
        versions = [images[name] for name in names]
        urls = isinstance(source, UrlSource)
        part = UrlSource(names) if urls else FileSource([Path(name) for name in names])
        shards.append(Shard(f"{_digest(*names, *versions)}.parquet", part, versions))
    return shards


def remove_outdated(source: ImageSource, partitions: Partitions) -> set[str]:
    """Leave each image one row: that of its file as it is now.

    Two processes may have scored an image, as one began before a further file came and the other
    after; and a file may have been replaced since it was scored.

    Returns:
        What is finished: partitions, where the images are rows of Parquet files, else paths.

    Raises:
        ValueError: The images are not in files.
    """
    if not isinstance(source, StoredSource):
        raise ValueError("A corpus lies in files; give folders, Parquet files or URLs.")
    if isinstance(source, ParquetSource):
        prefix = {_digest(rows.file): _prefix(rows) for rows in source.rows}
        names = partitions.names()
        replaced = {n for n in names if not n.startswith(prefix.get(n.partition("-")[0], ""))}
        for name in replaced:
            partitions.remove(name)
        return names - replaced
    now = dict(zip(map(path_as_text, source.names), source.versions(), strict=True))
    finished: set[str] = set()
    for name, table in partitions.read(["path", "version"]):
        kept = []
        for path, version in zip(
            table["path"].to_pylist(), table["version"].to_pylist(), strict=True
        ):
            kept.append(path not in finished and now.get(path, version) == version)
            if kept[-1]:
                finished.add(path)
        if not any(kept):
            partitions.remove(name)
        elif not all(kept) and (whole := partitions.table(name)) is not None:
            partitions.add(name, whole.filter(pa.array(kept)))
    return finished


def score_shard(
    model: ReadyDetector, shard: Shard, partitions: Partitions, rule: str
) -> ScoreCounts:
    """Score a shard into its partition, as the table of a single machine is made."""
    table = score_table(model, shard.images, rule=rule)
    partitions.add(shard.partition, table.append_column("version", pa.array(shard.versions)))
    return ScoreCounts.of(table)


def _of_rows(part: ParquetSource) -> Shard:
    """A shard within one Parquet file; its partition begins with the file, then its version."""
    (rows,) = part.rows
    return Shard(f"{_prefix(rows)}{rows.start}-{rows.stop}.parquet", part, part.versions())


def _prefix(rows: Rows) -> str:
    return f"{_digest(rows.file)}-{_digest(rows.version, str(rows.ends[-1]))}-"


def _digest(*words: str) -> str:
    return blake2b(os.fsencode("\0".join(words)), digest_size=12).hexdigest()
