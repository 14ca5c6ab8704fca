"""The file of results of a benchmark, one run a line, and means over its runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from anomem.runtime.files import named_if_unwritten
from anomem.runtime.printing import no_formula

AnomalyClasses = Literal["all", "one", "seen", "general", "hard"]
ClockName = Literal["wall", "processor"]


@dataclass(frozen=True)
class Key:
    """Tells a run from all others.

    Attributes:
        protocol: Such as "one-vs-all".
        data: Name of the data set, and what was done to it.
        method: Name of the method.
        normal: Name of the normal class, "all" where all classes are.
        against: What the anomalies of the test are, where they are not all other classes.
        gamma: Share of anomalies in the training set, in [0, 1).
        anomaly_classes: The training anomalies are of all other classes, of one of them, or of
            all but what is tested against; or few, of all kinds or of one.
        draw: Number of the random draw of the training set.
        budget: Seconds that a fit may take, from images in memory to ready to score.
        device: Such as "cpu".
        config: Digest of every choice of the method.
        labels: Number of anomalies in the training set, where these are few and counted.
        clock: Whose seconds are counted: those of the wall, or those that the processor works, of
            all threads together.
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
    labels: int = field(default=0, kw_only=True)
    clock: ClockName = field(default="wall", kw_only=True)

    @property
    def column(self) -> str:
        """Tell where the run stands in a table: the test it was put to, or its normal class."""
        return self.against or self.normal


@dataclass(frozen=True)
class Run(Key):
    """Records one method, trained once on one training set and measured on one test.

    Attributes:
        seconds: Seconds that the fit took, by the clock of the key.
        steps: Training steps in that time.
        measures: By name, in [0, 1]: ``auroc`` and others; ``auroc_quarter`` and ``auroc_half``
            were measured on the way, at these shares of the budget, on at most 2,000 test images.
        test_images: Number of images measured on.
        threads: Number of threads computed on.
        commit: Of the code.
        versions: Of the libraries, by name.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    seconds: float
    steps: int
    measures: dict[str, float]
    test_images: int
    threads: int
    commit: str
    versions: dict[str, str]

    @property
    def key(self) -> Key:
        """Give what tells this run from all others."""
        return Key(**{each.name: getattr(self, each.name) for each in fields(Key)})


class Setting(NamedTuple):
    """Names runs whose AUROC may be compared; ``anomaly_classes`` is "none" where gamma is 0.

    Where labelled anomalies are few and counted, those with and without them are compared: gamma is
    NaN, and methods are named with their number of labels.
    """

    protocol: str
    data: str
    budget: float
    clock: ClockName
    device: str
    anomaly_classes: Literal["none"] | AnomalyClasses
    gamma: float

    @property
    def title(self) -> str:
        """Say what is in the training set."""
        kinds = ANOMALIES[self.anomaly_classes]
        return kinds if self.anomaly_classes in FEW else f"gamma {self.gamma:g}, {kinds}"

    @property
    def seconds(self) -> str:
        """Say what the budget is."""
        return f"{self.budget:g} s" + (" of a processor" if self.clock == "processor" else "")


EVERY_KIND = "all kinds"
"""Column of a test against all kinds of anomaly together, beside tests against each of them."""
RE_ENCODED = ", re-encoded"
"""End of a column of a test whose images are encoded as the normals are."""
ANOMALIES = {
    "none": "no labelled anomaly",
    "all": "anomalies of all other classes",
    "one": "anomalies of one other class",
    "seen": "anomalies of all kinds but the one tested",
    "general": "few labelled anomalies, of all kinds",
    "hard": "few labelled anomalies, of one kind, tested against all others",
}
"""What the anomaly classes of a setting mean, in words."""
FEW = ("general", "hard")
"""Those of which the labelled anomalies are few and counted."""
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
        at = ".".join(map(str, first["loc"]))
        reason = f"{at}: {first['msg']}" if at else first["msg"]
        raise ValueError(
            f"{file}, line {number} is not a run ({reason}); delete the line or restore the file."
        ) from error


def as_csv(runs: Iterable[Run]) -> str:
    """Write runs as CSV, a line each below the names of the columns; versions are JSON."""
    rows = []
    for run in runs:
        row = asdict(run)
        measures, versions = row.pop("measures"), json.dumps(row.pop("versions"))
        rows.append(row | measures | {"versions": versions})
    return csv_of(pd.DataFrame(rows))


def csv_of(table: pd.DataFrame, **figures: Sequence[object]) -> str:
    """Write a table as CSV, no text a spreadsheet takes for a formula, and figures beside it."""
    safe = table.map(lambda value: no_formula(value) if isinstance(value, str) else value)
    safe = safe.assign(**figures)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def by_setting(runs: Iterable[Run]) -> dict[Setting, pd.DataFrame]:
    """Group runs by setting, the settings in order; a later run replaces one of its cell.

    Returns:
        Tables with a row a run: the fields of its key, its ``column``, and its measures by name.
    """
    rows = [asdict(run.key) | {"column": run.column} | run.measures for run in runs]
    if not rows:
        return {}
    table = pd.DataFrame(rows)
    few = table["anomaly_classes"].isin(FEW)
    kinds = table["anomaly_classes"].where((table["gamma"] > 0) | few, "none")
    table["anomaly_classes"] = pd.Categorical(kinds, list(ANOMALIES), ordered=True)
    table["gamma"] = table["gamma"].mask(few)
    table["method"] = table["method"].mask(few, table["method"] + table["labels"].map(_counted))
    setting = list(Setting._fields)
    table = table.drop_duplicates([*setting, "method", "column", "draw"], keep="last")
    groups = table.groupby(setting, observed=True, dropna=False)
    return {Setting(*values): own.dropna(axis=1, how="all") for values, own in groups}


def _counted(labels: int) -> str:
    return f", {labels} label{'s' * (labels != 1)}"


def averaged(columns: Iterable[str]) -> list[str]:
    """Name the columns that a mean and ranks are taken over, so that no image counts twice.

    That of all kinds is not among them beside each kind, nor a set as it is beside the same set
    re-encoded.
    """
    columns = list(columns)
    again = {name.removesuffix(RE_ENCODED) for name in columns if name.endswith(RE_ENCODED)}
    return [name for name in columns if name not in {EVERY_KIND, *again}] or columns


def grid_of(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Lay out a measure by method and draw (rows) and by column, sorted; NaN where there is none.

    Args:
        runs: Of one setting, as :func:`by_setting` gives them.
        measure: Name of the measure.
    """
    named = runs.reindex(columns=["method", "draw", "column", measure])
    return named.pivot(index=["method", "draw"], columns="column", values=measure)


def means(grid: pd.DataFrame) -> pd.DataFrame:
    """Average over columns the means over their draws, by method.

    Args:
        grid: Of :func:`grid_of`, or some columns of it.

    Returns:
        ``mean``, NaN where a column has no figure, as a mean over the easier ones would mislead;
        and ``std``, the standard deviation of the mean over columns over those draws that have
        every column, NaN for fewer than two.
    """
    grid = grid[averaged(grid)]
    mean = grid.groupby("method").mean().mean(axis=1, skipna=False)
    return pd.DataFrame({"mean": mean, "std": grid.dropna().mean(axis=1).groupby("method").std()})


def merged(files: Sequence[Path]) -> list[Run]:
    """Join runs of several files, each key once; a later run replaces an earlier one of its key."""
    return list({run.key: run for file in files for run in read(file)}.values())
