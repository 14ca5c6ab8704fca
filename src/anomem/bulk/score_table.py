"""Scores as a table, a row an image: CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from anomem.decision.calibrate import p_values
from anomem.decision.ready import ReadyDetector
from anomem.decision.scores import Scores, scale_names
from anomem.images.listing import protocol_of
from anomem.images.source import ImageSource
from anomem.images.video import time_of
from anomem.runtime.files import replacing
from anomem.runtime.printing import no_formula, path_as_text, printable


@dataclass(frozen=True)
class ScoreCounts:
    """Counts what a table of scores comes to, or the sum of several.

    Attributes:
        images: How many there were.
        errors: How many could not be read.
        anomalous: How many were called anomalous.
    """

    images: int = 0
    errors: int = 0
    anomalous: int = 0

    @staticmethod
    def of(table: pa.Table) -> ScoreCounts:
        """Count over a table of :func:`score_table`."""
        anomalous = table["prediction"].to_pylist().count(1)
        return ScoreCounts(len(table), len(table) - table["error"].null_count, anomalous)

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        """The counts of two tables together."""
        return ScoreCounts(
            self.images + other.images,
            self.errors + other.errors,
            self.anomalous + other.anomalous,
        )

    @property
    def exit_code(self) -> int:
        """Give the command's: 0, 3 where some images could not be read, 1 where none could."""
        if self.errors == 0:
            return 0
        return 1 if self.errors == self.images else 3


def score_table(model: ReadyDetector, source: ImageSource, *, rule: str = "0.05") -> pa.Table:
    """Score images into path, score, scale_1 ..., p_value, prediction, verdict and error.

    Frames of videos have a time, in seconds, behind their path. An image that cannot be read
    has its error and nothing else.

    Args:
        model: A fitted detector.
        source: The images.
        rule: By which images are called anomalous, see ``AnoMem.threshold``.
    """
    threshold = model.threshold(rule)
    return as_table(model, source.names, model.score_images(source), threshold)


def as_table(
    model: ReadyDetector, names: Sequence[str], scores: Scores, threshold: float
) -> pa.Table:
    """Make the table of :func:`score_table` of scores."""
    unread = np.isnan(scores.score)
    anomalous = scores.score > threshold
    scales = dict(
        zip(scale_names(scores.scale_scores.shape[1]), scores.scale_scores.T, strict=True)
    )
    errors = [scores.errors.get(index) for index in range(len(names))]
    times = [time_of(name) for name in names]
    return pa.table(
        {
            "path": pa.array(map(path_as_text, names), pa.string()),
            **({} if set(times) <= {None} else {"time": pa.array(times, pa.float64())}),
            "score": pa.array(scores.score, mask=unread),
            **{name: pa.array(scale.copy(), mask=unread) for name, scale in scales.items()},
            "p_value": pa.array(p_values(scores.score, model.calibration()), mask=unread),
            "prediction": pa.array(anomalous.astype(np.int8), mask=unread),
            "verdict": pa.array(
                np.where(anomalous, "anomalous", "normal").tolist(), pa.string(), mask=unread
            ),
            "error": pa.array([error and printable(error) for error in errors], pa.string()),
        }
    )


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
            from pyarrow import parquet

            parquet.write_table(table, part)
            return
        for column, field in enumerate(table.schema):
            if field.type == pa.string():
                texts = [text and no_formula(text) for text in table[column].to_pylist()]
                table = table.set_column(column, field, pa.array(texts, field.type))
        pyarrow.csv.write_csv(table, part)
