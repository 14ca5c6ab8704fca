"""A table on its way: what is scored is kept beside it until it is whole, and not scored again."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from anomem.bulk.score_table import as_table
from anomem.decision.ready import ReadyDetector
from anomem.decision.scores import Scores, joined_scores
from anomem.detector.model_info import load_description
from anomem.exported.folder import is_exported, read
from anomem.images.combined import choose
from anomem.images.source import ImageSource, StoredSource
from anomem.runtime.files import WriteError, replacing
from anomem.runtime.printing import path_as_text
from anomem.runtime.progress import StageProgress

_PAUSE = 10.0
_SHARE_OF_TIME = 0.02


class Unfinished:
    """Keeps the rows that a table has so far, in a file beside it, with the version of each image.

    Args:
        table: The file that the table will be; the rows are in the same name with ``.partial``.
        maker: What rows must have been made by to be taken, as the model and the rule.
    """

    def __init__(self, table: Path, maker: Mapping[str, str]) -> None:
        self.file = table.with_name(f"{table.name}.partial")
        self._maker = json.dumps(maker, sort_keys=True).encode()
        self._saved, self._cost = time.monotonic(), 0.0

    def read(self, versions: Mapping[str, str]) -> list[pa.Table]:
        """Read the rows of images that could be read and whose files are as they were, in a table.

        Args:
            versions: Of the file of each image, by its path; "" where it is unknown.

        Returns:
            No table where there is none by the same maker.
        """
        if not os.path.exists(self.file):  # to read any loads pandas where it is installed
            return []
        from pyarrow.parquet import read_table

        try:
            table = read_table(self.file)
        except (OSError, pa.ArrowException):
            return []
        if (table.schema.metadata or {}).get(b"made_by") != self._maker:
            return []
        table = table.filter(table["error"].is_null())
        rows = zip(table["path"].to_pylist(), table["version"].to_pylist(), strict=True)
        same = [bool(version) and versions.get(path) == version for path, version in rows]
        return [table.filter(pa.array(same, pa.bool_()))]

    def is_due(self) -> bool:
        """Tell whether it is time to keep the rows again: that takes at most 2% of the time."""
        pause = max(_PAUSE, self._cost / _SHARE_OF_TIME)
        return time.monotonic() - self._saved > pause

    def keep(self, table: pa.Table) -> None:
        """Write the rows, with a column ``version``.

        Warns:
            UserWarning: They cannot be written; the work can go on.
        """
        from pyarrow.parquet import write_table

        begun = time.monotonic()
        try:
            with replacing(self.file) as part:
                marked = table.replace_schema_metadata({"made_by": self._maker})
                write_table(marked, part)
        except WriteError as error:
            warnings.warn(f"{error} The work goes on without it.", stacklevel=2)
        self._saved = time.monotonic()
        self._cost = self._saved - begun

    def remove(self) -> None:
        """Remove the rows, once the table is whole."""
        with suppress(OSError):  # the table is there, and rows that stay are held against versions
            self.file.unlink(missing_ok=True)


def made_by(model: Path, rule: str) -> dict[str, str]:
    """Say what scores are told apart by: the model, the rule, and how they are kept."""
    if is_exported(model):
        description: dict[str, Any] = read(model).as_json()
        weights = description["digest"]
    else:
        description = load_description(model)
        weights = description["weights"]
    digest = blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=8)
    return {
        "weights": weights,
        "description": digest.hexdigest(),
        "rule": rule,
        "kept": "with versions",
    }


def finish_table(
    model: ReadyDetector,
    source: ImageSource,
    unfinished: Unfinished,
    *,
    rule: str,
    progress: StageProgress | None = None,
) -> pa.Table:
    """Make the table of :func:`~anomem.bulk.score_table.score_table`, going on where a call ended.

    An image is not scored again if its file has the size and the time that it had then. However
    this call ends, what it has scored is kept, up to the batch it was at.

    Args:
        model: A fitted detector.
        source: The images.
        unfinished: Where rows are kept; to be removed when the table is written.
        rule: See ``AnoMem.threshold``.
        progress: Called as ``progress(stage, done, total)``.
    """
    threshold = model.threshold(rule)
    paths = [path_as_text(name) for name in source.names]
    versions = source.versions() if isinstance(source, StoredSource) else [""] * len(source)
    known = unfinished.read(dict(zip(paths, versions, strict=True)))
    have = {path for table in known for path in table["path"].to_pylist()}
    left = np.array([i for i, path in enumerate(paths) if path not in have], dtype=np.int64)
    parts: list[tuple[range, Scores]] = []

    def rows() -> pa.Table:
        """Those known and those of the batches so far, with their versions."""
        if not parts:
            return pa.concat_tables(known)
        chosen = left[: parts[-1][0].stop].tolist()
        names = [source.names[index] for index in chosen]
        table = as_table(model, names, joined_scores(parts), threshold)
        kept = pa.array([versions[index] for index in chosen], pa.string())
        return pa.concat_tables([*known, table.append_column("version", kept)])

    def told(stage: str, done: int, _: int) -> None:
        if progress:
            progress(stage, len(paths) - len(left) + done, len(paths))

    try:
        if len(left):
            for part in model.score_batches(choose(source, left), progress=told):
                parts.append(part)
                if unfinished.is_due():
                    unfinished.keep(rows())
    except BaseException:
        if parts:
            unfinished.keep(rows())
        raise
    return _in_order(rows().drop_columns("version"), paths)


def _in_order(table: pa.Table, paths: list[str]) -> pa.Table:
    """Bring the rows of a table to the order of some paths."""
    have = table["path"].to_pylist()
    if have != paths:  # as take() loads what takes a tenth of a second
        row = {path: number for number, path in enumerate(have)}
        table = table.take([row[path] for path in paths])
    return table.combine_chunks()
