"""Tables of the results of a benchmark."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import rankdata

from anomem.evaluation.published import error_reduction, published
from anomem.evaluation.results import (
    Cells,
    Mean,
    Run,
    Setting,
    by_setting,
    columns_of,
    mean_of,
)

_MAIN = ("auroc", "accuracy")
"""The measure of a table, the first that its runs have; all others follow as means."""
_NAMES = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "aupr_out": "AUPR out",
    "aupr_in": "AUPR in",
    "fpr95": "FPR95",
    "apcer": "APCER",
    "bpcer": "BPCER",
    "acer": "ACER",
    "eer": "EER",
}
_ERRORS = ("fpr95", "apcer", "bpcer", "acer", "eer")
"""Measures of which less is better."""


@dataclass(frozen=True)
class Table:
    """The table of a setting.

    Attributes:
        setting: What its runs have in common.
        measure: The main measure.
        draws: Least and most runs behind a figure.
        columns: From the head of a column to the figures in it, in % or ranks, by method.
        order: Methods, the best first.
    """

    setting: Setting
    measure: str
    draws: tuple[int, int]
    columns: dict[str, dict[str, Mean]]
    order: tuple[str, ...]


def tables(runs: Iterable[Run]) -> list[Table]:
    """A table for each setting: rows methods; columns normal classes or tests, and their mean.

    Rows are sorted by the mean. A method without a run of every column has no mean and no rank.
    Ranks are taken among the others, in each pair of a column and a draw that all of them have.
    Published figures stand beside the mean where there are any, with the share of the published
    errors that ours does not make.
    """
    return [_table(setting, methods) for setting, methods in by_setting(runs).items()]


def markdown_table(runs: Iterable[Run]) -> str:
    """The tables as Markdown, the best of each column bold."""
    return "\n\n".join(map(_markdown, tables(runs))) + "\n"


def csv_table(runs: Iterable[Run]) -> str:
    """The tables as CSV, a line for each figure."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*Setting._fields, "method", "column", "value", "std"])
    for table in tables(runs):
        for method in table.order:
            for head, column in table.columns.items():
                if mean := column.get(method):
                    std = "" if mean.std is None else f"{mean.std:.3f}"
                    rows.writerow([*table.setting, method, head, f"{mean.value:.3f}", std])
    return text.getvalue()


def _table(setting: Setting, methods: Mapping[str, Cells]) -> Table:
    names = columns_of(methods)
    known = {name for cells in methods.values() for run in cells.values() for name in run.measures}
    measure = next(name for name in _MAIN if name in known)
    columns = {name: _percents(methods, [name], measure) for name in names}
    columns["mean"] = means = _percents(methods, names, measure)
    columns["rank"] = _mean_ranks({m: methods[m] for m in means}, measure)
    columns |= _published(setting, means, names)
    for name, head in _NAMES.items():
        if name in known and name != measure:
            columns[head] = _percents(methods, names, name)
    for share, head in (("quarter", "1/4"), ("half", "1/2")):
        early = _percents(methods, names, f"{measure}_{share}")
        columns[head] = {m: Mean(mean.value, None) for m, mean in early.items()}
    draws = Counter((method, name) for method, cells in methods.items() for name, _ in cells)
    order = sorted(methods, key=lambda m: (-means[m].value if m in means else 1.0, m))
    return Table(
        setting,
        measure,
        (min(draws.values()), max(draws.values())),
        {head: column for head, column in columns.items() if column},
        tuple(order),
    )


def _percents(methods: Mapping[str, Cells], names: Sequence[str], measure: str) -> dict[str, Mean]:
    means = {method: mean_of(cells, names, measure) for method, cells in methods.items()}
    return {
        method: Mean(100 * mean.value, None if mean.std is None else 100 * mean.std)
        for method, mean in means.items()
        if mean
    }


def _published(
    setting: Setting, means: Mapping[str, Mean], names: Sequence[str]
) -> dict[str, dict[str, Mean]]:
    figures = {
        method: figure
        for method in means
        if (figure := published(setting.protocol, setting.data, setting.gamma, method, names))
    }
    return {
        "published": {method: Mean(figure, None) for method, figure in figures.items()},
        "fewer errors": {
            method: Mean(100 * error_reduction(figure, means[method].value), None)
            for method, figure in figures.items()
        },
    }


def _mean_ranks(methods: Mapping[str, Cells], measure: str) -> dict[str, Mean]:
    """Mean rank by method over the cells that all of them have, ties sharing their ranks."""
    shared = set.intersection(*(set(cells) for cells in methods.values())) if methods else set()
    ranks = [
        rankdata([-cells[cell].measures[measure] for cells in methods.values()])
        for cell in sorted(shared)
    ]
    if not ranks:
        return {}
    return {
        method: Mean(float(fmean(rank[place] for rank in ranks)), None)
        for place, method in enumerate(methods)
    }


def _markdown(table: Table) -> str:
    texts = {head: _texts(head, column) for head, column in table.columns.items()}
    rows = [["method", *texts], ["---", *["---:"] * len(texts)]]
    rows += [[m, *(column.get(m, "") for column in texts.values())] for m in table.order]
    return "\n".join([_caption(table), "", *(f"| {' | '.join(r)} |" for r in rows)])


def _caption(table: Table) -> str:
    setting, (least, most) = table.setting, table.draws
    count = f"{most}" if least == most else f"{least} to {most}"
    beside = (
        " Published: the figures of the paper, over all classes and at its own budget; fewer "
        "errors: share of the published errors that are not made here."
        if "published" in table.columns
        else ""
    )
    return (
        f"**{setting.data}, {setting.protocol}, {setting.title}.** {_NAMES[table.measure]} in %, "
        f"mean ± standard deviation over draws (n = {count}), {setting.budget:g} s a fit. Rank: "
        "mean over columns and draws, 1 is best. 1/4, 1/2: the mean on the way through the same "
        f"fits.{beside}"
    )


def _texts(head: str, column: Mapping[str, Mean]) -> dict[str, str]:
    """Texts of a column; bold are all that read as the best does."""
    less = head == "rank" or head in [_NAMES[name] for name in _ERRORS]
    best: Callable[[Iterable[float]], float] = min if less else max
    top = f"{best(mean.value for mean in column.values()):.1f}"
    texts = {}
    for method, mean in column.items():
        text = f"{mean.value:.1f}"
        bold = f"**{text}**" if text == top and head not in ("published", "fewer errors") else text
        texts[method] = bold if mean.std is None else f"{bold} ± {mean.std:.1f}"
    return texts
