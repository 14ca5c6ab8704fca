"""The file of results of a benchmark, one run a line, and tables of it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from anomem.runtime.files import named_if_unwritten
from anomem.runtime.printing import no_formula

AnomalyClasses = Literal["all", "one", "seen"]


@dataclass(frozen=True)
class Key:
    """What tells a run from all others.

    Attributes:
        protocol: Such as "one-vs-all".
        data: Name of the data set, and what was done to it.
        method: Name of the method.
        normal: Name of the normal class, "all" where all classes are.
        against: What the anomalies of the test are, where they are not all other classes.
        gamma: Share of anomalies in the training set, in [0, 1).
        anomaly_classes: The training anomalies are of all other classes, of one of them, or of
            all but what is tested against.
        draw: Number of the random draw of the training set.
        budget: Wall-clock seconds that a fit may take, from images in memory to ready to score.
        device: Such as "cpu".
        config: Digest of every choice of the method.
    """

    protocol: str
    data: str
    method: str
    normal: str
    against: str
    gamma: float
    anomaly_classes: AnomalyClasses
    draw: int
    budget: float
    device: str
    config: str

    @property
    def column(self) -> str:
        """Where the run stands in a table: the test it was put to, or its normal class."""
        return self.against or self.normal


@dataclass(frozen=True)
class Run(Key):
    """One method, trained once on one training set and measured on one test.

    Attributes:
        seconds: Wall-clock seconds that the fit took.
        steps: Training steps in that time.
        measures: By name, in [0, 1]: ``auroc`` and others; ``auroc_quarter`` and ``auroc_half``
            were measured on the way, at these shares of the budget, on at most 2,000 test images.
        test_images: Number of images measured on.
        threads: Number of threads computed on.
        commit: Of the code.
        versions: Of the libraries, by name.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    seconds: float
    steps: int
    measures: dict[str, float]
    test_images: int
    threads: int
    commit: str
    versions: dict[str, str]

    @property
    def key(self) -> Key:
        """What tells this run from all others."""
        return Key(*(getattr(self, field.name) for field in fields(Key)))


class Setting(NamedTuple):
    """Runs whose AUROC may be compared; ``anomaly_classes`` is "none" where gamma is 0."""

    protocol: str
    data: str
    budget: float
    device: str
    anomaly_classes: Literal["none", "all", "one", "seen"]
    gamma: float

    @property
    def title(self) -> str:
        """What is in the training set."""
        return f"gamma {self.gamma:g}, {ANOMALIES[self.anomaly_classes]}"


class Mean(NamedTuple):
    """A mean and the standard deviation over draws, None for fewer than two."""

    value: float
    std: float | None


EVERY_KIND = "all kinds"
"""Column of a test against all kinds of anomaly together, beside tests against each of them."""
ANOMALIES = {
    "none": "no labelled anomaly",
    "all": "anomalies of all other classes",
    "one": "anomalies of one other class",
    "seen": "anomalies of all kinds but the one tested",
}
"""What the anomaly classes of a setting mean, in words."""
Cells = dict[tuple[str, int], Run]
"""Runs of one method, by column and draw."""

_RUN = TypeAdapter(Run)


def append(file: Path, run: Run) -> None:
    """Add a run to a file of results, so that once this returns a kill does not lose it.

    What a kill within an earlier write has left is cut off. One process at a time may append.

    Raises:
        WriteError: It cannot be written; the runs before stay.
    """
    line = json.dumps(asdict(run), allow_nan=False).encode() + b"\n"
    with named_if_unwritten(file):
        _append(file, line)


def _append(file: Path, line: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as lines:
        lines.seek(0)
        content = lines.read()
        whole = content.rfind(b"\n") + 1
        if _is_torn(content[whole:]):
            lines.truncate(whole)
        elif content[whole:]:  # a whole run, and the kill came before the end of its line
            line = b"\n" + line
        lines.write(line)
        lines.flush()
        os.fsync(lines.fileno())


def read(file: Path) -> list[Run]:
    """Read a file of results, without a last line that a kill has torn.

    Raises:
        ValueError: There is no such file, or a line of it is not a run.
    """
    if not file.is_file():
        raise ValueError(f"{file} does not exist; give a file of results.")
    *lines, last = file.read_bytes().split(b"\n")
    if not _is_torn(last):
        lines.append(last)
    return [_run(line, file, number) for number, line in enumerate(lines, 1) if line]


def _is_torn(last: bytes) -> bool:
    """Whether a line without an end is a part of a run; no part of a JSON object is JSON."""
    try:
        json.loads(last or b"{}")
    except ValueError:
        return True
    return False


def _run(line: bytes, file: Path, number: int) -> Run:
    try:
        return _RUN.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise ValueError(
            f"{file}, line {number} is not a run ({reason}); delete the line or restore the file."
        ) from error


def as_csv(runs: Iterable[Run]) -> str:
    """Runs as CSV, a line each below the names of the columns; versions are JSON."""
    text = io.StringIO()
    flat = [_flat(run) for run in runs]
    columns = dict.fromkeys(name for row in flat for name in row)
    rows = csv.DictWriter(text, list(columns), lineterminator="\n")
    rows.writeheader()
    rows.writerows(flat)
    return text.getvalue()


def _flat(run: Run) -> dict[str, Any]:
    row = asdict(run)
    versions = json.dumps(row.pop("versions"))
    flat = row | row.pop("measures") | {"versions": versions}
    return {k: no_formula(v) if isinstance(v, str) else v for k, v in flat.items()}


def by_setting(runs: Iterable[Run]) -> dict[Setting, dict[str, Cells]]:
    """Runs by setting and method, the settings in order; a later run replaces one of its key."""
    settings: dict[Setting, dict[str, Cells]] = {}
    for run in runs:
        classes = run.anomaly_classes if run.gamma else "none"
        setting = Setting(run.protocol, run.data, run.budget, run.device, classes, run.gamma)
        cells = settings.setdefault(setting, {}).setdefault(run.method, {})
        cells[run.column, run.draw] = run
    order = list(ANOMALIES)
    return {s: settings[s] for s in sorted(settings, key=lambda s: (*s[:4], order.index(s[4]), s))}


def columns_of(methods: Mapping[str, Cells]) -> list[str]:
    """Columns of a setting, normal classes or tests, sorted."""
    return sorted({column for cells in methods.values() for column, _ in cells})


def averaged(columns: Sequence[str]) -> list[str]:
    """The columns that a mean is taken over: not that of all kinds beside each of them."""
    return [name for name in columns if name != EVERY_KIND] or list(columns)


def mean_of(cells: Cells, columns: Sequence[str], measure: str = "auroc") -> Mean | None:
    """Mean of a measure over columns of the means over their draws.

    Args:
        cells: Runs of a method.
        columns: Normal classes or tests.
        measure: Name of the measure.

    Returns:
        In [0, 1], with the standard deviation of the mean over columns over those draws that have
        every column; None without columns, or if one has no run with that measure, as a mean over
        the easier ones would mislead.
    """
    values = {cell: run.measures[measure] for cell, run in cells.items() if measure in run.measures}
    of_column = [[v for (name, _), v in values.items() if name == column] for column in columns]
    if not of_column or not all(of_column):
        return None
    draws = {draw for _, draw in values}
    whole = [draw for draw in draws if all((column, draw) in values for column in columns)]
    of_draw = [fmean(values[column, draw] for column in columns) for draw in whole]
    return Mean(
        fmean(fmean(values) for values in of_column), stdev(of_draw) if len(of_draw) > 1 else None
    )


def merged(files: Sequence[Path]) -> list[Run]:
    """Runs of several files, each key once; a later run replaces an earlier one of its key."""
    return list({run.key: run for file in files for run in read(file)}.values())
