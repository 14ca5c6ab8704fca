"""Encoded images in the rows of Parquet files, here or on object storage."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import overload

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from anomem.images.errors import ImageError
from anomem.images.listing import protocol_of
from anomem.images.local import version_of_file
from anomem.images.object_store import BLOCK, BlockSource, storage_of, version_of
from anomem.runtime.untrusted import one_line

_COLUMN = "image"
_EMBED = "export it again with the bytes of the image, as a path alone is not followed"
_AT_ONCE = 16
"""Files whose length is asked for at the same time."""
_BUFFER = 2**20
"""Bytes read at a time."""


@dataclass(frozen=True)
class Rows:
    """Names rows of one Parquet file.

    Attributes:
        file: Its path or URL.
        version: Size of the file in bytes, and its tag or time.
        ends: For each of its row groups, the row of the file that it ends before.
        start: The first row.
        stop: The row after the last.
    """

    file: str
    version: str
    ends: tuple[int, ...]
    start: int
    stop: int

    @staticmethod
    def of(file: str) -> Rows:
        """Take all rows of a file; OSError where it cannot be read, ValueError without images."""
        try:
            version = _version(file)
            with _opened(file) as opened:
                metadata, schema = opened.metadata, opened.schema_arrow
        except Exception as error:  # of Arrow, or of the storage, each of which has its own
            raise _unreadable(file, error) from error
        _leaf(file, schema)
        groups = [metadata.row_group(each).num_rows for each in range(metadata.num_row_groups)]
        return Rows(file, version, tuple(accumulate(groups)), 0, sum(groups))

    def run_end(self, start: int, size: int) -> int:
        """End a run of at most ``size`` rows: where a row group ends if one does within it."""
        limit = min(start + size, self.stop)
        groups = bisect_right(self.ends, limit)
        whole = self.ends[groups - 1] if groups else 0
        return whole if start < whole and limit < self.stop else limit


class RowNames(Sequence[str]):
    """Names all rows FILE#ROW, each when it is asked for."""

    def __init__(self, rows: Sequence[Rows]) -> None:
        self.rows = rows
        self.starts = [0, *accumulate(each.stop - each.start for each in rows)]

    def __len__(self) -> int:
        return self.starts[-1]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        which, row = self.locate(index)
        return f"{self.rows[which].file}#{row}"

    def locate(self, index: int) -> tuple[int, int]:
        """Find the number of the file of an index, and the row there."""
        index = range(len(self))[index]
        which = bisect_right(self.starts, index) - 1
        return which, self.rows[which].start + index - self.starts[which]


class ParquetSource(BlockSource):
    """Reads encoded images in the column ``image``: binary, or a struct with ``bytes``."""

    names: RowNames

    def __init__(self, rows: Sequence[Rows]) -> None:
        super().__init__()
        self.rows = rows
        self.names = RowNames(rows)
        self._file: tuple[int, pa.parquet.ParquetFile] | None = None
        self._group: tuple[int, int] | None = None
        self._next = 0
        self._blocks: Iterator[pa.RecordBatch] = iter(())

    @staticmethod
    def of(files: Sequence[str]) -> ParquetSource:
        """Take all rows of files.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file has no column of images, or there is no row.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            source = ParquetSource(list(pool.map(Rows.of, files)))
        if not len(source):
            raise ValueError(f"{files[0]} has no rows; give at least one image.")
        return source

    def __reduce__(self) -> tuple[type[ParquetSource], tuple[Sequence[Rows]]]:
        return ParquetSource, (self.rows,)

    def part(self, start: int, stop: int) -> ParquetSource:
        """Choose some of the rows."""
        part, starts = [], self.names.starts
        for which in range(bisect_right(starts, start) - 1, bisect_left(starts, stop)):
            rows, shift = self.rows[which], self.rows[which].start - starts[which]
            begin, end = max(start + shift, rows.start), min(stop + shift, rows.stop)
            part.append(replace(rows, start=begin, stop=end))
        return ParquetSource(part)

    def runs(self, size: int) -> list[range]:
        """Cut ranges within a file; they end where row groups end, if these are no larger."""
        runs = []
        for rows, first in zip(self.rows, self.names.starts, strict=False):
            start, shift = rows.start, first - rows.start
            while start < rows.stop:
                stop = rows.run_end(start, size)
                runs.append(range(start + shift, stop + shift))
                start = stop
        return runs

    def versions(self) -> list[str]:
        """Give that of the file of each row."""
        return [rows.version for rows in self.rows for _ in range(rows.start, rows.stop)]

    def _locate(self, index: int) -> tuple[tuple[int, int, int], int]:
        which, row = self.names.locate(index)
        ends = self.rows[which].ends
        group = bisect_right(ends, row)
        block, position = divmod(row - (ends[group - 1] if group else 0), BLOCK)
        return (which, group, block), position

    def _fetch(self, key: tuple[int, int, int]) -> list[bytes | ImageError]:
        which, group, block = key
        file = self.rows[which].file
        try:
            contents = self._read(which, group, block)
        except Exception as error:
            self._group = None
            raise _unreadable(file, error) from error
        first = block * BLOCK + (self.rows[which].ends[group - 1] if group else 0)
        return [
            content or ImageError(f"{file}#{row}", "the row has no image", _EMBED)
            for row, content in enumerate(contents, start=first)
        ]

    def _read(self, which: int, group: int, block: int) -> list[bytes | None]:
        """A block of a row group, whose blocks can only be read in order."""
        if self._file is None or self._file[0] != which:
            self._file, self._group = (which, _opened(self.rows[which].file)), None
        opened = self._file[1]
        leaf = _leaf(self.rows[which].file, opened.schema_arrow)
        if self._group != (which, group) or block < self._next:
            self._group, self._next = (which, group), 0
            self._blocks = opened.iter_batches(BLOCK, row_groups=[group], columns=[leaf])
        while self._next <= block:
            batch = next(self._blocks)
            self._next += 1
        column = batch.column(0)
        contents: list[bytes | None] = (
            column if leaf == _COLUMN else pyarrow.compute.struct_field(column, "bytes")
        ).to_pylist()
        return contents


def _opened(file: str) -> pa.parquet.ParquetFile:
    source: object = file
    if protocol_of(file) is not None:
        storage, path = storage_of(file)
        source = storage.open(path)
    # Else, as by pyarrow.dataset, a row group is held whole before its first row is given.
    return pa.parquet.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)


def _version(file: str) -> str:
    if protocol_of(file) is None:
        return version_of_file(file)
    storage, path = storage_of(file)
    return version_of(storage.info(path))


def _leaf(file: str, schema: pa.Schema) -> str:
    """The column of the encoded images, as Parquet names it."""
    kind = schema.field(_COLUMN).type if _COLUMN in schema.names else pa.null()
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{_COLUMN}.bytes"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _COLUMN
    found = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise ValueError(f"{file} has the columns {found}; give image (a struct with bytes, or bytes).")


def _unreadable(file: str, error: Exception) -> OSError:
    return OSError(f"{file} cannot be read ({one_line(error)}); try again or export it again.")
