"""Tables of the results of a benchmark."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import rankdata

from anomem.runtime.printing import no_formula
from anomem_bench.published import MEAN, counterpart, error_reduction, published
from anomem_bench.results import (
    Cells,
    Mean,
    Run,
    Setting,
    averaged,
    by_setting,
    columns_of,
    mean_of,
)

_MAIN = ("auroc", "accuracy")
"""The measure of the first table of a setting, the one of these that its runs have."""
_NAMES = {
    "auroc": "AUROC",
    "accuracy": "Accuracy",
    "aupr_out": "AUPR, anomalies positive",
    "aupr_in": "AUPR, normals positive",
    "fpr95": "False positive rate at 95% of the normals",
    "apcer": "APCER",
    "bpcer": "BPCER",
    "acer": "ACER",
    "eer": "EER",
}
_ERRORS = ("fpr95", "apcer", "bpcer", "acer", "eer")
"""Measures of which less is better."""


@dataclass(frozen=True)
class Table:
    """A measure of the runs of a setting.

    Attributes:
        setting: What its runs have in common.
        measure: Its name.
        draws: Least and most runs behind a figure.
        columns: From the head of a column to the figures in it, in % or ranks, by method.
        order: Methods, the best first.
        published: Figures of the literature by method and by head.
    """

    setting: Setting
    measure: str
    draws: tuple[int, int]
    columns: dict[str, dict[str, Mean]]
    order: tuple[str, ...]
    published: dict[str, dict[str, float]]


def tables(runs: Iterable[Run]) -> list[Table]:
    """Tables for each setting: rows methods; columns normal classes or tests, and their mean.

    Rows are sorted by the mean. A method without a run of every column has no mean and no rank.
    Ranks are taken among the others, in each pair of a column and a draw that all of them have.
    Published figures are rows of their own, and beside a method that has one stands the share of
    the published errors that it does not make. Measures other than the main one have tables too.
    """
    return [
        table
        for setting, methods in by_setting(runs).items()
        for table in [_main_table(setting, methods), *_other_tables(setting, methods)]
    ]


def markdown_table(runs: Iterable[Run]) -> str:
    """The tables as Markdown, the best of each column bold."""
    return "\n\n".join(map(_markdown, tables(runs))) + "\n"


def csv_table(runs: Iterable[Run]) -> str:
    """The tables as CSV, a line for each figure."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*Setting._fields, "measure", "method", "column", "value", "std"])
    for table in tables(runs):
        start = [_cell(value) for value in (*table.setting, table.measure)]
        for method in table.order:
            for head, column in table.columns.items():
                if mean := column.get(method):
                    std = "" if mean.std is None else f"{mean.std:.3f}"
                    rows.writerow([*start, *map(_cell, (method, head)), f"{mean.value:.3f}", std])
        for method, figures in table.published.items():
            for head, figure in figures.items():
                rows.writerow([*start, f"{method}, published", _cell(head), figure, ""])
    return text.getvalue()


def _cell(value: object) -> object:
    return no_formula(value) if isinstance(value, str) else value


def _main_table(setting: Setting, methods: Mapping[str, Cells]) -> Table:
    names = columns_of(methods)
    measure = next(name for name in _MAIN if name in _measures(methods))
    columns = _by_column(methods, names, measure)
    beside = published(setting.protocol, setting.data, setting.gamma)
    means = columns[MEAN]
    columns["rank"] = _mean_ranks({m: methods[m] for m in means}, measure)
    columns["fewer errors"] = _fewer_errors(columns, beside)
    for share, head in (("quarter", "1/4"), ("half", "1/2")):
        early = _percents(methods, averaged(names), f"{measure}_{share}")
        columns[head] = {m: Mean(mean.value, None) for m, mean in early.items()}
    order = sorted(methods, key=lambda m: (-means[m].value if m in means else 1.0, m))
    shown = {head: column for head, column in columns.items() if column}
    return Table(setting, measure, _draws(methods), shown, tuple(order), beside)


def _other_tables(setting: Setting, methods: Mapping[str, Cells]) -> list[Table]:
    names, known = columns_of(methods), _measures(methods)
    found = []
    for measure in _NAMES:
        if measure in known and measure not in _MAIN:
            columns = _by_column(methods, names, measure)
            sign = 1 if measure in _ERRORS else -1
            means = columns[MEAN]
            order = sorted(methods, key=lambda m: (sign * means[m].value if m in means else 101, m))
            found.append(Table(setting, measure, _draws(methods), columns, tuple(order), {}))
    return found


def _measures(methods: Mapping[str, Cells]) -> set[str]:
    return {name for cells in methods.values() for run in cells.values() for name in run.measures}


def _draws(methods: Mapping[str, Cells]) -> tuple[int, int]:
    draws = Counter((method, name) for method, cells in methods.items() for name, _ in cells)
    return min(draws.values()), max(draws.values())


def _by_column(
    methods: Mapping[str, Cells], names: Sequence[str], measure: str
) -> dict[str, dict[str, Mean]]:
    columns = {name: _percents(methods, [name], measure) for name in names}
    return columns | {MEAN: _percents(methods, averaged(names), measure)}


def _percents(methods: Mapping[str, Cells], names: Sequence[str], measure: str) -> dict[str, Mean]:
    means = {method: mean_of(cells, names, measure) for method, cells in methods.items()}
    return {
        method: Mean(100 * mean.value, None if mean.std is None else 100 * mean.std)
        for method, mean in means.items()
        if mean
    }


def _fewer_errors(
    columns: Mapping[str, Mapping[str, Mean]], beside: Mapping[str, Mapping[str, float]]
) -> dict[str, Mean]:
    """Against the published figures of the columns that both have, as means over them."""
    fewer = {}
    for method in columns[MEAN]:
        figures = beside.get(counterpart(method), {})
        shared = [head for head in figures if method in columns.get(head, {})]
        if shared:
            theirs = fmean(figures[head] for head in shared)
            ours = fmean(columns[head][method].value for head in shared)
            fewer[method] = Mean(100 * error_reduction(theirs, ours), None)
    return fewer


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
    less = table.measure in _ERRORS
    texts = {head: _texts(column, less or head == "rank") for head, column in table.columns.items()}
    if "fewer errors" in texts:
        texts["fewer errors"] = {m: text.strip("*") for m, text in texts["fewer errors"].items()}
    rows = [["method", *texts], ["---", *["---:"] * len(texts)]]
    rows += [[m, *(column.get(m, "") for column in texts.values())] for m in table.order]
    for method, figures in table.published.items():
        shown = [f"{figures[head]:.1f}" if head in figures else "" for head in texts]
        if any(shown):
            rows.append([f"*{method}, published*", *shown])
    return "\n".join([_caption(table), "", *(f"| {' | '.join(r)} |" for r in rows)])


def _caption(table: Table) -> str:
    setting, (least, most) = table.setting, table.draws
    count = f"{most}" if least == most else f"{least} to {most}"
    text = (
        f"**{setting.data}, {setting.protocol}, {setting.title}.** {_NAMES[table.measure]} in %, "
        f"mean ± standard deviation over draws (n = {count}), {setting.budget:g} s a fit on "
        f"{setting.device}."
    )
    if "rank" in table.columns:
        text += (
            " Rank: mean over columns and draws, 1 is best. 1/4, 1/2: the mean on the way through "
            "the same fits."
        )
    if table.published:
        text += (
            " Published: in the paper, over all classes and at its own budget. Fewer errors: share "
            "of the published errors that are not made here."
        )
    return text


def _texts(column: Mapping[str, Mean], less: bool) -> dict[str, str]:
    """Texts of a column; bold are all that read as the best does."""
    best: Callable[[Iterable[float]], float] = min if less else max
    top = f"{best(mean.value for mean in column.values()):.1f}" if column else ""
    texts = {}
    for method, mean in column.items():
        text = f"{mean.value:.1f}"
        bold = f"**{text}**" if text == top else text
        texts[method] = bold if mean.std is None else f"{bold} ± {mean.std:.1f}"
    return texts
