"""Tables of the results of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from anomem_bench.methods import given_to
from anomem_bench.published import MEAN, counterpart, namesake, published
from anomem_bench.results import Run, Setting, averaged, by_setting, csv_of, grid_of, means
from anomem_bench.significance import ALPHA, Significance, significance

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
RANK, FEWER = "rank", "fewer errors"


@dataclass(frozen=True)
class Table:
    """Lays out a measure of the runs of a setting.

    Attributes:
        setting: What its runs have in common.
        measure: Its name.
        draws: Least and most runs behind a figure.
        values: Figures in %, or ranks, by method (the best first) and head of a column.
        spreads: Standard deviations of the same over draws, NaN where there are fewer than two.
        published: Figures of the literature by method and head.
        significance: Of the main measure, over the cells that ranks are taken in; None for too few.
    """

    setting: Setting
    measure: str
    draws: tuple[int, int]
    values: pd.DataFrame
    spreads: pd.DataFrame
    published: pd.DataFrame
    significance: Significance | None = None


def tables(runs: Iterable[Run]) -> list[Table]:
    """Make tables for each setting: rows methods; columns normal classes or tests, and their mean.

    Rows are sorted by the mean. A method without a run of every column has no mean and no rank.
    Ranks are taken among the others, in each pair of a column and a draw that all of them have.
    Published figures are rows of their own, and beside a method that has one stands the share of
    the published errors that it does not make. Measures other than the main one have tables too.
    """
    found = []
    for setting, own in by_setting(runs).items():
        main = next(name for name in _MAIN if name in own)
        others = [name for name in _NAMES if name in own and name not in _MAIN]
        found += [_table(setting, own, measure) for measure in (main, *others)]
    return found


def markdown_table(runs: Iterable[Run]) -> str:
    """Write the tables as Markdown, the best of each column bold.

    A last column says what each method, published ones too, is given that others are not; it is
    left out where none is given anything. Below a table of at least three methods on five cells
    stands how sure their order is.
    """
    return "\n\n".join(map(_markdown, tables(runs))) + "\n"


def csv_table(runs: Iterable[Run]) -> str:
    """Write the tables as CSV, a line for each figure."""
    rows: list[tuple[object, ...]] = []
    for table in tables(runs):
        start = (*table.setting, table.measure)
        for method, figures in table.values.iterrows():
            for head, figure in figures.dropna().items():
                spread = table.spreads.loc[method].get(head, float("nan"))
                std = "" if pd.isna(spread) else f"{spread:.3f}"
                rows.append((*start, method, head, f"{figure:.3f}", std))
        for method, figures in table.published.iterrows():
            for head, figure in figures.dropna().items():
                rows.append((*start, f"{method}, published", head, figure, ""))
    names = [*Setting._fields, "measure", "method", "column"]
    texts = pd.DataFrame([row[:-2] for row in rows], columns=names)
    return csv_of(texts, value=[row[-2] for row in rows], std=[row[-1] for row in rows])


def significance_table(runs: Iterable[Run]) -> str:
    """Write how sure the order of methods is as CSV, a line each; "" where nothing is known."""
    rows = [
        {**table.setting._asdict(), "measure": table.measure, "method": method, **figures,
         "cells": sure.cells, "friedman": sure.friedman,
         "critical_difference": sure.critical_difference}
        for table in tables(runs) if (sure := table.significance)
        for method, figures in sure.methods.iterrows()
    ]  # fmt: skip
    return csv_of(pd.DataFrame(rows)) if rows else ""


def _table(setting: Setting, runs: pd.DataFrame, measure: str) -> Table:
    grid = grid_of(runs, measure)
    by_method, mean = grid.groupby("method"), means(grid)
    values = by_method.mean().assign(**{MEAN: mean["mean"]}) * 100
    spreads = by_method.std().assign(**{MEAN: mean["std"]}) * 100
    values = values.sort_values(MEAN, ascending=measure in _ERRORS, kind="stable")
    beside, sure = pd.DataFrame(), None
    if measure in _MAIN:
        beside = published(setting.protocol, setting.data, setting.gamma)
        cells = _cells(grid, values[MEAN].dropna().index)
        sure = significance(cells)
        values[RANK] = cells.rank(ascending=False).mean(axis=1)
        values[FEWER] = _fewer_errors(values, beside)
        for share, head in (("quarter", "1/4"), ("half", "1/2")):
            early = grid_of(runs, f"{measure}_{share}").reindex(columns=grid.columns)
            values[head] = 100 * means(early)["mean"]
        values = values.dropna(axis=1, how="all")
    draws = runs.groupby(["method", "column"]).size()
    return Table(setting, measure, (draws.min(), draws.max()), values, spreads, beside, sure)


def _cells(grid: pd.DataFrame, methods: pd.Index) -> pd.DataFrame:
    """Figures by method, and by the pairs of an averaged column and a draw that all have."""
    own = grid.loc[methods, averaged(grid)]
    return own.unstack("draw").dropna(axis=1).reindex(methods)


def _fewer_errors(values: pd.DataFrame, beside: pd.DataFrame) -> pd.Series:
    """Share in % of the published errors that are not made, as means over the shared columns."""
    ours = values.drop(columns=RANK)[values[MEAN].notna()]
    theirs = beside.reindex(index=ours.index.map(counterpart), columns=ours.columns)
    theirs = theirs.set_axis(ours.index).where(ours.notna())
    before, after = theirs.mean(axis=1), ours.where(theirs.notna()).mean(axis=1)
    return 100 * (after - before) / (100 - before)


def _markdown(table: Table) -> str:
    heads = list(table.values)
    rows = [["method", *heads], ["---", *["---:"] * len(heads)]]
    texts = [_texts(table, head) for head in heads]
    rows += [list(row) for row in zip(table.values.index, *texts, strict=True)]
    shown = table.published.reindex(columns=heads).dropna(how="all")
    rows += [
        [f"*{method}, published*", *("" if pd.isna(f) else f"{f:.1f}" for f in figures)]
        for method, figures in zip(shown.index, shown.to_numpy(), strict=True)
    ]
    given = [*map(given_to, table.values.index), *(given_to(namesake(m)) for m in shown.index)]
    if any(given):
        beside = ["given", "---", *given]
        rows = [[*row, text] for row, text in zip(rows, beside, strict=True)]
    text = f"{_caption(table)}\n\n{_laid_out(rows)}"
    return text if table.significance is None else f"{text}\n\n{_how_sure(table.significance)}"


def _laid_out(rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _how_sure(sure: Significance) -> str:
    """The section below a table: which methods are ahead of which."""
    text = (
        f"**Which are ahead?** {len(sure.methods)} methods in the {sure.cells} cells (columns and "
        "draws) that all of them have. Were none better than another, ranks so unequal would have "
        f"a probability of {sure.friedman:.2g} (Friedman). A method is ahead of another where "
        "their mean ranks are further apart than the critical difference, "
        f"{sure.critical_difference:.2f} (Nemenyi, {ALPHA:g}); where they are closer, these cells "
        "do not tell which is better, and fewer than five cells say nothing. p: of the difference "
        "to the best one, paired by cells (Wilcoxon's signed ranks, corrected by Holm)"
    )
    if sure.least_p > ALPHA:
        text += f"; of so few cells it is never below {sure.least_p:.2g}, so that it proves nothing"
    best = sure.methods["rank"].min()
    rows = [["method", "mean rank", "behind the best", "p"], ["---", *["---:"] * 3]]
    for method, rank, p in sure.methods.itertuples():
        behind = "yes" if rank - best > sure.critical_difference else "not told"
        first = pd.isna(p)
        rows.append([method, f"{rank:.2f}", "" if first else behind, "" if first else f"{p:.2g}"])
    return f"{text}.\n\n{_laid_out(rows)}"


def _texts(table: Table, head: str) -> list[str]:
    """Texts of a column by method; bold are all that read as the best does."""
    column = table.values[head]
    best = column.min() if head == RANK or table.measure in _ERRORS else column.max()
    texts = []
    for method, value in column.items():
        text = "" if pd.isna(value) else f"{value:.1f}"
        if text == f"{best:.1f}" and head != FEWER:
            text = f"**{text}**"
        spread = table.spreads.loc[method].get(head, float("nan"))
        texts.append(text if pd.isna(spread) else f"{text} ± {spread:.1f}")
    return texts


def _caption(table: Table) -> str:
    setting, (least, most) = table.setting, table.draws
    count = f"{most}" if least == most else f"{least} to {most}"
    text = (
        f"**{setting.data}, {setting.protocol}, {setting.title}.** {_NAMES[table.measure]} in %, "
        f"mean ± standard deviation over draws (n = {count}), {setting.seconds} a fit on "
        f"{setting.device}."
    )
    if RANK in table.values:
        text += (
            " Rank: mean over columns and draws, 1 is best. 1/4, 1/2: the mean on the way through "
            "the same fits."
        )
    if not table.published.empty:
        text += (
            " Published: in the paper, over all classes and at its own budget. Fewer errors: share "
            "of the published errors that are not made here."
        )
    return text
