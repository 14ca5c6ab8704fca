"""Scores as a table, a row an image: CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from anomem.detector.calibrate import p_values
from anomem.detector.estimator import AnoMem
from anomem.detector.explain import scale_names
from anomem.detector.score import Scores
from anomem.images.listing import protocol_of
from anomem.images.source import ImageSource
from anomem.runtime.files import replacing
from anomem.runtime.printing import no_formula, path_as_text, printable
from anomem.runtime.progress import StageProgress


@dataclass(frozen=True)
class Scored:
    """What a table of scores comes to, or several.

    Attributes:
        images: How many there were.
        errors: How many could not be read.
        anomalous: How many were called anomalous.
    """

    images: int
    errors: int
    anomalous: int

    @property
    def exit_code(self) -> int:
        """Of the command: 0, 3 where some images could not be read, 1 where none could."""
        if self.errors == 0:
            return 0
        return 1 if self.errors == self.images else 3


def score_table(
    model: AnoMem,
    source: ImageSource,
    *,
    rule: str = "0.05",
    progress: StageProgress | None = None,
) -> pa.Table:
    """Score images into path, score, scale_1 ..., p_value, prediction, verdict and error.

    An image that cannot be read has its error and nothing else.

    Args:
        model: A fitted detector.
        source: The images.
        rule: By which images are called anomalous, see ``AnoMem.threshold``.
        progress: Called as ``progress(stage, done, total)``.
    """
    threshold = model.threshold(rule)
    scores = model.score_images(source, progress=progress)
    return tabulated(model, source.names, scores, threshold)


def tabulated(model: AnoMem, names: Sequence[str], scores: Scores, threshold: float) -> pa.Table:
    """Scores as the table of :func:`score_table`."""
    unread = np.isnan(scores.score)
    columns = {"path": pa.array(map(path_as_text, names), pa.string())}
    columns["score"] = pa.array(scores.score, mask=unread)
    for column, name in enumerate(scale_names(scores.scale_scores.shape[1])):
        columns[name] = pa.array(scores.scale_scores[:, column].copy(), mask=unread)
    p = p_values(scores.score, model.calibration())
    columns["p_value"] = pa.array(p, mask=unread)
    columns["prediction"] = pa.array((scores.score > threshold).astype(np.int8), mask=unread)
    words = np.where(scores.score > threshold, "anomalous", "normal")
    columns["verdict"] = pa.array(words.tolist(), type=pa.string(), mask=unread)
    errors = [scores.errors.get(index) for index in range(len(names))]
    shown = [None if error is None else printable(error) for error in errors]
    columns["error"] = pa.array(shown, type=pa.string())
    return pa.table(columns)


def scored(table: pa.Table) -> Scored:
    """What a table comes to."""
    errors = len(table) - table["error"].null_count
    anomalous = pyarrow.compute.sum(table["prediction"]).as_py() or 0
    return Scored(len(table), errors, anomalous)


def total(found: Sequence[Scored]) -> Scored:
    """What several tables come to."""
    counts = (sum(each) for each in zip((0, 0, 0), *map(astuple, found), strict=True))
    return Scored(*counts)


def check_table(file: str) -> None:
    """Refuse a table that is neither CSV nor Parquet, or not here, before any work is done.

    Raises:
        ValueError: The suffix is another one, or it is a URL.
    """
    if not file.endswith((".csv", ".parquet")):
        raise ValueError(f"{file} is neither .csv nor .parquet; give one of these.")
    if protocol_of(file) is not None:
        raise ValueError(f"{file} is a URL; give a path, or a folder with --engine ray.")


def write_table(table: pa.Table, file: Path) -> None:
    """Write a table as its suffix says, .csv or .parquet, whole or not at all.

    In a CSV file ``./`` stands before what a spreadsheet would take for a formula, see
    :func:`~anomem.runtime.printing.no_formula`.

    Raises:
        WriteError: It cannot be written.
    """
    with replacing(file) as part:
        if file.suffix == ".parquet":
            pyarrow.parquet.write_table(table, part)
        else:
            pyarrow.csv.write_csv(_without_formulas(table), part)


def _without_formulas(table: pa.Table) -> pa.Table:
    for column, field in enumerate(table.schema):
        if field.type == pa.string():
            texts = [
                None if text is None else no_formula(text) for text in table[column].to_pylist()
            ]
            table = table.set_column(column, field, pa.array(texts, field.type))
    return table
