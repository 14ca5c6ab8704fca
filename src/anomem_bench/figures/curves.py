"""Curves of a benchmark: AUROC against the share of anomalies, training time, and a choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import ceil, sqrt
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem.report.colours import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from anomem.runtime.files import replacing
from anomem_bench.results import (
    ANOMALIES,
    FEW,
    Run,
    Setting,
    averaged,
    by_setting,
    grid_of,
    means,
)

_OURS = {"scratch": (VERMILION, "o"), "pretrained": (BLUE, "s"), "paper-small": (GREEN, "D")}
_COLOURS = (BLACK, ORANGE, SKY, PURPLE, GREY)
_MARKERS = "^vXP<>*hp"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)))
_OF_A_CHOICE = list(zip((VERMILION, BLUE, GREEN, BLACK, PURPLE), "osD^v", strict=True))
_NUMBER = r"(.*?) ([\d.]+)$"
_SHARES = {0.25: "_quarter", 0.5: "_half", 1.0: ""}
_MOST_COLUMNS = 4

Lines: TypeAlias = pd.DataFrame
"""Points: ``method``, ``x`` (gamma, or seconds), and the ``mean`` and ``std`` of the AUROC in
[0, 1], the mean being over columns and draws and the deviation over draws, NaN for fewer than two.
"""


def lines_against_gamma(runs: Iterable[Run]) -> dict[str, Lines]:
    """Collect lines by panel: a panel for anomalies of all other classes, one for those of one.

    The points at gamma 0 are in both, and none where labels are few and counted. All points of a
    panel are of the same normal classes, those that have runs at every gamma; a method without one
    of these at a gamma has no point there.
    """
    panels = {}
    settings = {s: own for s, own in by_setting(runs).items() if s.anomaly_classes not in FEW}
    for _, group in groupby(settings, lambda setting: setting[:4]):
        like = list(group)
        columns = sorted(set.intersection(*(set(settings[each]["column"]) for each in like)))
        kinds = {setting.anomaly_classes for setting in like}
        for kind in sorted(kinds - {"none"}) or ["none"]:
            panels[f"{_source(like[0], columns)}\n{ANOMALIES[kind]}"] = _lines(
                {
                    setting.gamma: _means(settings[setting], columns)
                    for setting in like
                    if setting.anomaly_classes in ("none", kind)
                }
            )
    return panels


def lines_against_seconds(runs: Iterable[Run]) -> dict[str, Lines]:
    """Collect lines by panel, one for each setting: at 1/4, 1/2 and the whole of the budget."""
    panels = {}
    for setting, own in by_setting(runs).items():
        columns = sorted(set(own["column"]))
        panels[f"{_source(setting, columns)}\n{setting.title}"] = _lines(
            {share * setting.budget: _means(own, columns, end) for share, end in _SHARES.items()}
        )
    return panels


def lines_against_choices(runs: Iterable[Run]) -> dict[str, Lines]:
    """Collect lines of choices whose values are numbers, by choice; methods are their settings."""
    points = []
    for setting, own in by_setting(runs).items():
        found = _means(own, sorted(set(own["column"]))).reset_index()
        found[["choice", "x"]] = found["method"].str.extract(_NUMBER)
        found["method"] = f"{setting.data}, {setting.seconds}, gamma {setting.gamma:g}"
        points.append(found.dropna(subset="choice").astype({"x": float}))
    table = pd.concat(points)
    return {str(choice): lines for choice, lines in table.sort_values("x").groupby("choice")}


def auroc_against_gamma(runs: Sequence[Run], file: Path) -> None:
    """Write a PNG of :func:`lines_against_gamma`, with bands of one standard deviation.

    Nothing where labelled anomalies are few and counted in all runs.
    """
    if runs and all(run.anomaly_classes in FEW for run in runs):
        return
    # Gammas crowd near 0, and a logarithm has no place for 0 itself: their roots lie well apart.
    rooted = {
        title: lines.assign(x=lines["x"] ** 0.5)
        for title, lines in lines_against_gamma(runs).items()
    }
    gammas = sorted({run.gamma for run in runs})
    figure, grid = _panels(rooted, "gamma, share of anomalies in training")
    for axes in grid:
        axes.set_xticks([sqrt(gamma) for gamma in gammas], [f"{gamma:g}" for gamma in gammas])
    _save(figure, file, dpi=150)


def auroc_against_seconds(runs: Sequence[Run], file: Path) -> None:
    """Write a PNG of :func:`lines_against_seconds`, with bands of one standard deviation."""
    panels = lines_against_seconds(runs)
    figure, grid = _panels(panels, "seconds of training")
    for axes, lines in zip(grid, panels.values(), strict=True):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(set(lines["x"])))
        axes.xaxis.set_major_formatter("{x:g}")
    _save(figure, file, dpi=150)


def auroc_against_choices(runs: Sequence[Run], file: Path) -> None:
    """Write a PNG of :func:`lines_against_choices`, a panel each; nothing where there is none."""
    curves = lines_against_choices(runs)
    if not curves:
        return
    figure = Figure(figsize=(5.2 * len(curves), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (choice, lines) in zip(grid, curves.items(), strict=True):
        for index, (name, points) in enumerate(lines.groupby("method", sort=False)):
            colour, marker = _OF_A_CHOICE[index % len(_OF_A_CHOICE)]
            x, spread = points["x"], 100 * points["std"].fillna(0)
            axes.errorbar(x, 100 * points["mean"], spread, color=colour, capsize=3, marker=marker,
                          label=name)  # fmt: skip
            axes.set_xscale("log")
            axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.minorticks_off()
        axes.set_xlabel(choice)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    grid[0].set_ylabel("AUROC, or accuracy, in %")
    _save(figure, file, dpi=130)


def _means(runs: pd.DataFrame, columns: Sequence[str], suffix: str = "") -> pd.DataFrame:
    """Mean and deviation of the main measure by method, those without a mean left out."""
    auroc, accuracy = (
        means(grid_of(runs, f"{name}{suffix}").reindex(columns=columns))
        for name in ("auroc", "accuracy")
    )
    return auroc.combine_first(accuracy).dropna(subset="mean")


def _source(setting: Setting, columns: Sequence[str]) -> str:
    count = len(averaged(columns))
    mean = f"mean of {count} column{'s' * (count != 1)}"
    return f"{setting.data}, {setting.protocol}, {setting.seconds}, {mean}"


def _lines(means_at: Mapping[float, pd.DataFrame]) -> Lines:
    return pd.concat(means_at, names=["x"]).reset_index().sort_values(["method", "x"])


def _panels(panels: Mapping[str, Lines], label: str) -> tuple[Figure, list[Any]]:
    """A figure with a panel for each title, on one vertical scale, and one legend for all."""
    if not panels:
        raise ValueError("there is no run to draw; run a benchmark first.")
    rows = ceil(len(panels) / _MOST_COLUMNS)
    columns = ceil(len(panels) / rows)
    figure = Figure(figsize=(3.7 * columns + 1.6, 3.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = [figure.add_subplot(rows, columns, index + 1) for index in range(len(panels))]
    styles = _styles({method for lines in panels.values() for method in lines["method"]})
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        axes.sharey(grid[0])
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        for method, style in reversed(styles.items()):  # the first on top
            points = lines[lines["method"] == method]
            if len(points):
                mean, std = 100 * points["mean"], 100 * points["std"]
                axes.plot(points["x"], mean, label=method, markersize=6, **style)
                axes.fill_between(points["x"], mean - std, mean + std, color=style["color"],
                                  alpha=0.12, linewidth=0)  # fmt: skip
    for axes in grid[::columns]:
        axes.set_ylabel("mean AUROC, or accuracy, in %", fontsize=9)
    handles = {h.get_label(): h for axes in grid for h in axes.get_legend_handles_labels()[0]}
    shown = [handles[method] for method in styles if method in handles]
    figure.legend(handles=shown, loc="outside right upper", fontsize=9, handlelength=3.2)
    return figure, grid


def _styles(methods: set[str]) -> dict[str, dict[str, Any]]:
    """How each method is drawn, ours first; colour and marker together tell them apart."""
    styles: dict[str, dict[str, Any]] = {}
    for method, (colour, marker) in _OURS.items():
        if method in methods:
            styles[method] = {"color": colour, "marker": marker, "linewidth": 2.6}
    for index, method in enumerate(sorted(methods - set(_OURS))):
        styles[method] = {
            "color": _COLOURS[index % len(_COLOURS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
            "linewidth": 1.2,
        }
    return styles


def _save(figure: Figure, file: Path, dpi: int) -> None:
    with replacing(file) as part:
        figure.savefig(part, format="png", dpi=dpi)
