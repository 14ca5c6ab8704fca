"""A table on its way: what is scored is kept beside it until it is whole, and not scored again."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from anomem.bulk.score_table import tabulated
from anomem.detector.estimator import AnoMem
from anomem.detector.score import Scores, joined_scores
from anomem.images.combined import choose
from anomem.images.source import ImageSource, StoredSource
from anomem.runtime.files import WriteError, replacing
from anomem.runtime.printing import path_as_text
from anomem.runtime.progress import StageProgress

_PAUSE = 10.0
_SHARE_OF_TIME = 0.02


class Unfinished:
    """The rows that a table has so far, in a file beside it, with the version of each image.

    Args:
        table: The file that the table will be; the rows are in the same name with ``.partial``.
        maker: What rows must have been made by to be taken, as the model and the rule.
    """

    def __init__(self, table: Path, maker: Mapping[str, str]) -> None:
        self.file = table.with_name(f"{table.name}.partial")
        self._maker = json.dumps(maker, sort_keys=True).encode()
        self._saved, self._cost = time.monotonic(), 0.0

    def read(self) -> pa.Table | None:
        """The rows without an error; None where there are none by the same maker."""
        try:
            table = pyarrow.parquet.read_table(self.file)
        except (OSError, pa.ArrowException):
            return None
        if (table.schema.metadata or {}).get(b"made_by") != self._maker:
            return None
        return table.filter(table["error"].is_null())

    def is_due(self) -> bool:
        """Whether it is time to keep the rows again: that takes at most 2% of the time."""
        pause = max(_PAUSE, self._cost / _SHARE_OF_TIME)
        return time.monotonic() - self._saved > pause

    def keep(self, table: pa.Table) -> None:
        """Write the rows, with a column ``version``.

        Warns:
            UserWarning: They cannot be written; the work can go on.
        """
        begun = time.monotonic()
        try:
            with replacing(self.file) as part:
                marked = table.replace_schema_metadata({"made_by": self._maker})
                pyarrow.parquet.write_table(marked, part)
        except WriteError as error:
            warnings.warn(f"{error} The work goes on without it.", stacklevel=2)
        self._saved = time.monotonic()
        self._cost = self._saved - begun

    def remove(self) -> None:
        """Remove the rows, once the table is whole."""
        with suppress(OSError):  # the table is there, and rows that stay are held against versions
            self.file.unlink(missing_ok=True)


def score_on(
    model: AnoMem,
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
    images = [path_as_text(name) for name in source.names]
    versions = source.versions() if isinstance(source, StoredSource) else [""] * len(source)
    known = _still_right(unfinished.read(), dict(zip(images, versions, strict=True)))
    have = set() if known is None else set(known["path"].to_pylist())
    left = np.array([i for i, path in enumerate(images) if path not in have], dtype=np.int64)
    tables = [] if known is None else [known]
    parts: list[tuple[range, Scores]] = []

    def fresh() -> pa.Table:
        """The rows of the batches so far, with their versions."""
        chosen = [int(i) for images, _ in parts for i in left[images.start : images.stop]]
        names = [source.names[index] for index in chosen]
        table = tabulated(model, names, joined_scores(parts), threshold)
        return table.append_column("version", pa.array([versions[i] for i in chosen], pa.string()))

    def told(stage: str, done: int, _: int) -> None:
        if progress:
            progress(stage, len(images) - len(left) + done, len(images))

    try:
        if len(left):
            for part in model.score_batches(choose(source, left), progress=told):
                parts.append(part)
                if unfinished.is_due():
                    unfinished.keep(pa.concat_tables([*tables, fresh()]))
    except BaseException:
        if parts:
            unfinished.keep(pa.concat_tables([*tables, fresh()]))
        raise
    whole = pa.concat_tables([*tables, fresh()] if parts else tables).drop_columns("version")
    row = {path: number for number, path in enumerate(whole["path"].to_pylist())}
    return whole.take([row[path] for path in images]).combine_chunks()


def _still_right(known: pa.Table | None, now: Mapping[str, str]) -> pa.Table | None:
    """The rows of images whose file is the same now."""
    if known is None:
        return None
    rows = zip(known["path"].to_pylist(), known["version"].to_pylist(), strict=True)
    kept = known.filter(
        pa.array([bool(version) and now.get(path) == version for path, version in rows], pa.bool_())
    )
    return kept if len(kept) else None
