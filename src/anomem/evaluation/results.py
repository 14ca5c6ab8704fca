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
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError


class Key(NamedTuple):
    """What tells a run from all others; the attributes are those of :class:`Run`."""

    protocol: str
    data: str
    method: str
    normal: str
    gamma: float
    anomaly_classes: Literal["all", "one"]
    draw: int
    budget: float
    device: str
    config: str


@dataclass(frozen=True)
class Run:
    """One method, trained once on one training set and measured.

    Attributes:
        protocol: Such as "one-vs-all".
        data: Name of the data set.
        method: Name of the method.
        normal: Name of the normal class.
        gamma: Share of anomalies in the training set, in [0, 1).
        anomaly_classes: The anomalies are drawn from all other classes, or from one of them.
        draw: Number of the random draw of the training set.
        budget: Wall-clock seconds that a fit may take, from images in memory to ready to score.
        device: Such as "cpu".
        config: Digest of every choice of the method.
        seconds: Wall-clock seconds that it took.
        steps: Training steps in that time.
        auroc: In [0, 1], as are the next two.
        auroc_half: On the way, at half of the budget, on at most 2,000 test images.
        auroc_quarter: The same at a quarter of the budget.
        test_images: Number of images measured on.
        threads: Number of threads computed on.
        commit: Of the code.
        versions: Of the libraries, by name.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    protocol: str
    data: str
    method: str
    normal: str
    gamma: float
    anomaly_classes: Literal["all", "one"]
    draw: int
    budget: float
    device: str
    config: str
    seconds: float
    steps: int
    auroc: float
    auroc_half: float
    auroc_quarter: float
    test_images: int
    threads: int
    commit: str
    versions: dict[str, str]

    @property
    def key(self) -> Key:
        """What tells this run from all others."""
        return Key(*(getattr(self, name) for name in Key._fields))


class Setting(NamedTuple):
    """Runs whose AUROC may be compared; ``anomaly_classes`` is "none" where gamma is 0."""

    protocol: str
    data: str
    budget: float
    anomaly_classes: Literal["none", "all", "one"]
    gamma: float

    @property
    def title(self) -> str:
        """What is in the training set."""
        return f"gamma {self.gamma:g}, {ANOMALIES[self.anomaly_classes]}"


class Mean(NamedTuple):
    """A mean and the standard deviation over draws, None for fewer than two."""

    value: float
    std: float | None


ANOMALIES = {
    "none": "no labelled anomaly",
    "all": "anomalies of all other classes",
    "one": "anomalies of one other class",
}
"""What the anomaly classes of a setting mean, in words."""
Cells = dict[tuple[str, int], Run]
"""Runs of one method, by normal class and draw."""
Measure = Literal["auroc", "auroc_half", "auroc_quarter"]

_RUN = TypeAdapter(Run)


def append(file: Path, run: Run) -> None:
    """Add a run to a file of results, so that once this returns a kill does not lose it.

    What a kill within an earlier write has left is cut off. One process at a time may append.
    """
    line = json.dumps(asdict(run), allow_nan=False).encode() + b"\n"
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
    rows = csv.DictWriter(text, [field.name for field in fields(Run)], lineterminator="\n")
    rows.writeheader()
    rows.writerows(asdict(run) | {"versions": json.dumps(run.versions)} for run in runs)
    return text.getvalue()


def by_setting(runs: Iterable[Run]) -> dict[Setting, dict[str, Cells]]:
    """Runs by setting and method, the settings in order; a later run replaces one of its key."""
    settings: dict[Setting, dict[str, Cells]] = {}
    for run in runs:
        classes = run.anomaly_classes if run.gamma else "none"
        setting = Setting(run.protocol, run.data, run.budget, classes, run.gamma)
        cells = settings.setdefault(setting, {}).setdefault(run.method, {})
        cells[run.normal, run.draw] = run
    order = list(ANOMALIES)
    return {s: settings[s] for s in sorted(settings, key=lambda s: (*s[:3], order.index(s[3]), s))}


def normals_of(methods: Mapping[str, Cells]) -> list[str]:
    """Normal classes of a setting, sorted."""
    return sorted({normal for cells in methods.values() for normal, _ in cells})


def mean_auroc(cells: Cells, normals: Sequence[str], measure: Measure = "auroc") -> Mean | None:
    """Mean over normal classes of the means over their draws.

    Args:
        cells: Runs of a method.
        normals: The classes.
        measure: At the end, or earlier.

    Returns:
        In [0, 1], with the standard deviation of the mean over classes over those draws that have
        every class; None without classes, or if one has no run, as a mean over the easier ones
        would mislead.
    """
    of_class = [
        [getattr(run, measure) for (name, _), run in cells.items() if name == normal]
        for normal in normals
    ]
    if not of_class or not all(of_class):
        return None
    draws = {draw for _, draw in cells}
    whole = [draw for draw in draws if all((normal, draw) in cells for normal in normals)]
    of_draw = [fmean(getattr(cells[name, draw], measure) for name in normals) for draw in whole]
    return Mean(
        fmean(fmean(values) for values in of_class), stdev(of_draw) if len(of_draw) > 1 else None
    )
