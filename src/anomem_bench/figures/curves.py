"""Curves of a benchmark: AUROC against the share of anomalies, and against training time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import ceil, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem.report.colours import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from anomem.runtime.files import replacing
from anomem_bench.results import (
    ANOMALIES,
    Cells,
    Mean,
    Run,
    Setting,
    averaged,
    by_setting,
    columns_of,
    mean_of,
)

_OURS = {"default": (VERMILION, "o"), "pretrained": (BLUE, "s"), "paper-small": (GREEN, "D")}
_COLOURS = (BLACK, ORANGE, SKY, PURPLE, GREY)
_MARKERS = "^vXP<>*hp"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)))
_SHARES = {0.25: "_quarter", 0.5: "_half", 1.0: ""}
_MOST_COLUMNS = 4


class Point(NamedTuple):
    """AUROC of a method, the mean over normal classes and draws.

    Attributes:
        x: Gamma, or seconds.
        mean: In [0, 1].
        std: Over draws, of the mean over classes; None for fewer than two draws.
    """

    x: float
    mean: float
    std: float | None


Lines = dict[str, list[Point]]
"""Points by method."""


def lines_against_gamma(runs: Iterable[Run]) -> dict[str, Lines]:
    """Lines by title of a panel: a panel for anomalies of all other classes, one for those of one.

    The points at gamma 0 are in both. All points of a panel are of the same normal classes, those
    that have runs at every gamma; a method without one of these at a gamma has no point there.
    """
    panels = {}
    for _, group in groupby(by_setting(runs).items(), lambda item: item[0][:4]):
        settings = dict(group)
        columns = sorted(set.intersection(*(set(columns_of(m)) for m in settings.values())))
        kinds = {setting.anomaly_classes for setting in settings}
        for kind in sorted(kinds - {"none"}) or ["none"]:
            title = f"{_source(next(iter(settings)), columns)}\n{ANOMALIES[kind]}"
            panels[title] = _lines(
                (setting.gamma, method, _mean(cells, columns))
                for setting, methods in settings.items()
                if setting.anomaly_classes in ("none", kind)
                for method, cells in methods.items()
            )
    return panels


def lines_against_seconds(runs: Iterable[Run]) -> dict[str, Lines]:
    """Lines by title of a panel, one for each setting: at 1/4, 1/2 and the whole of the budget."""
    panels = {}
    for setting, methods in by_setting(runs).items():
        columns = columns_of(methods)
        panels[f"{_source(setting, columns)}\n{setting.title}"] = _lines(
            (share * setting.budget, method, _mean(cells, columns, suffix))
            for method, cells in methods.items()
            for share, suffix in _SHARES.items()
        )
    return panels


def auroc_against_gamma(runs: Sequence[Run], file: Path) -> None:
    """Write a PNG of :func:`lines_against_gamma`, with bands of one standard deviation."""
    # Gammas crowd near 0, and a logarithm has no place for 0 itself: their roots lie well apart.
    rooted = {
        title: {m: [p._replace(x=sqrt(p.x)) for p in points] for m, points in lines.items()}
        for title, lines in lines_against_gamma(runs).items()
    }
    gammas = sorted({run.gamma for run in runs})
    figure, grid = _panels(rooted, "gamma, share of anomalies in training")
    for axes in grid:
        axes.set_xticks([sqrt(gamma) for gamma in gammas], [f"{gamma:g}" for gamma in gammas])
    _save(figure, file)


def auroc_against_seconds(runs: Sequence[Run], file: Path) -> None:
    """Write a PNG of :func:`lines_against_seconds`, with bands of one standard deviation."""
    panels = lines_against_seconds(runs)
    figure, grid = _panels(panels, "seconds of training")
    for axes, lines in zip(grid, panels.values(), strict=True):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({point.x for points in lines.values() for point in points}))
        axes.xaxis.set_major_formatter("{x:g}")
    _save(figure, file)


def _mean(cells: Cells, columns: Sequence[str], suffix: str = "") -> Mean | None:
    names = averaged(columns)
    return mean_of(cells, names, f"auroc{suffix}") or mean_of(cells, names, f"accuracy{suffix}")


def _source(setting: Setting, columns: Sequence[str]) -> str:
    count = len(averaged(columns))
    mean = f"mean of {count} column{'s' * (count != 1)}"
    return f"{setting.data}, {setting.protocol}, {setting.budget:g} s, {mean}"


def _lines(points: Iterable[tuple[float, str, Mean | None]]) -> Lines:
    lines: Lines = {}
    for x, method, mean in points:
        if mean:
            lines.setdefault(method, []).append(Point(x, *mean))
    return lines


def _panels(panels: Mapping[str, Lines], label: str) -> tuple[Figure, list[Any]]:
    """A figure with a panel for each title, on one vertical scale, and one legend for all."""
    if not panels:
        raise ValueError("there is no run to draw; run a benchmark first.")
    rows = ceil(len(panels) / _MOST_COLUMNS)
    columns = ceil(len(panels) / rows)
    figure = Figure(figsize=(3.7 * columns + 1.6, 3.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = [figure.add_subplot(rows, columns, place + 1) for place in range(len(panels))]
    styles = _styles({method for lines in panels.values() for method in lines})
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        axes.sharey(grid[0])
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        for method in sorted(lines, key=list(styles).index, reverse=True):  # the first on top
            _draw(axes, method, lines[method], styles[method])
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
    for place, method in enumerate(sorted(methods - set(_OURS))):
        styles[method] = {
            "color": _COLOURS[place % len(_COLOURS)],
            "marker": _MARKERS[place % len(_MARKERS)],
            "linestyle": _DASHES[place // len(_COLOURS) % len(_DASHES)],
            "linewidth": 1.2,
        }
    return styles


def _draw(axes: Any, method: str, points: Sequence[Point], style: Mapping[str, Any]) -> None:
    points = sorted(points)
    x = [point.x for point in points]
    mean = np.array([100 * point.mean for point in points])
    std = np.array([np.nan if point.std is None else 100 * point.std for point in points])
    axes.plot(x, mean, label=method, markersize=6, **style)
    axes.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.12, linewidth=0)


def _save(figure: Figure, file: Path) -> None:
    with replacing(file) as part:
        figure.savefig(part, format="png", dpi=150)
