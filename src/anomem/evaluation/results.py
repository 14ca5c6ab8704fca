"""The file of results of a benchmark, one run a line, and tables of it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError
from scipy.stats import rankdata


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
        budget: Wall-clock seconds that a whole fit may take.
        seconds: Wall-clock seconds that it took.
        steps: Training steps in that time.
        auroc: In [0, 1], as are the next two.
        auroc_half: The same training at half of the budget.
        auroc_quarter: The same training at a quarter of the budget.
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


def markdown_table(runs: Iterable[Run]) -> str:
    """A Markdown table for each setting: rows methods, columns normal classes and their mean.

    Rows are sorted by the mean and the best of each column is bold. A method without a run of
    every class has no mean and no rank. Ranks are taken among the others, in each pair of a normal
    class and a draw that all of them have.
    """
    settings = by_setting(runs).items()
    return "\n\n".join(_table(setting, methods) for setting, methods in settings) + "\n"


def _table(setting: Setting, methods: Mapping[str, Cells]) -> str:
    normals = normals_of(methods)
    means = {method: mean_auroc(cells, normals) for method, cells in methods.items()}
    columns = {
        name: _column({m: _percent(mean_auroc(cells, [name])) for m, cells in methods.items()})
        for name in normals
    }
    columns["mean"] = _column({m: _percent(mean) for m, mean in means.items()})
    whole = {m: methods[m] for m, mean in means.items() if mean}
    columns["rank"] = _column(_mean_ranks(whole), best=min)
    early: dict[str, Measure] = {"1/4": "auroc_quarter", "1/2": "auroc_half"}
    for name, measure in early.items():
        early_means = {m: mean_auroc(cells, normals, measure) for m, cells in methods.items()}
        columns[name] = _column(
            {m: _percent(mean and Mean(mean.value, None)) for m, mean in early_means.items()}
        )
    order = sorted(methods, key=lambda m: (-mean.value if (mean := means[m]) else 1.0, m))
    rows = [["method", *columns], ["---", *["---:"] * len(columns)]]
    rows += [[m, *(column.get(m, "") for column in columns.values())] for m in order]
    return "\n".join([_caption(setting, methods), "", *(f"| {' | '.join(r)} |" for r in rows)])


def _caption(setting: Setting, methods: Mapping[str, Cells]) -> str:
    draws = Counter((method, name) for method, cells in methods.items() for name, _ in cells)
    least, most = min(draws.values()), max(draws.values())
    count = f"{most}" if least == most else f"{least} to {most}"
    return (
        f"**{setting.data}, {setting.protocol}, {setting.title}.** AUROC in %, mean ± standard "
        f"deviation over draws (n = {count}), {setting.budget:g} s a fit. Rank: mean over normal "
        "classes and draws, 1 is best. 1/4, 1/2: the mean at a quarter and at half of the budget."
    )


def _percent(mean: Mean | None) -> Mean | None:
    return mean and Mean(100 * mean.value, None if mean.std is None else 100 * mean.std)


def _column(
    values: Mapping[str, Mean | None], best: Callable[[Iterable[float]], float] = max
) -> dict[str, str]:
    """Texts of the methods that have a value; bold are all that read as the best does."""
    given = {method: mean for method, mean in values.items() if mean}
    top = f"{best(mean.value for mean in given.values()):.1f}" if given else ""
    texts = {}
    for method, mean in given.items():
        text = f"{mean.value:.1f}"
        bold = f"**{text}**" if text == top else text
        texts[method] = bold if mean.std is None else f"{bold} ± {mean.std:.1f}"
    return texts


def _mean_ranks(methods: Mapping[str, Cells]) -> dict[str, Mean | None]:
    """Mean rank by method over the cells that all of them have, ties sharing their ranks."""
    shared = set.intersection(*(set(cells) for cells in methods.values())) if methods else set()
    ranks = [
        rankdata([-cells[cell].auroc for cells in methods.values()]) for cell in sorted(shared)
    ]
    return {
        method: Mean(float(fmean(rank[place] for rank in ranks)), None) if ranks else None
        for place, method in enumerate(methods)
    }
