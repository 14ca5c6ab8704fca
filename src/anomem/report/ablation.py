"""Curves of an ablation: a measure against the numbers that one choice takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem.evaluation.results import Mean, Run, by_setting, columns_of, mean_of

_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#000000", "#CC79A7")
_MARKERS = "osD^v"
_NUMBER = re.compile(r"(.*?) ([\d.]+)$")

Curves = dict[str, list[tuple[float, Mean]]]
"""By what they are of: the value of the choice, and the mean over columns and draws."""


def curves_of(runs: Sequence[Run]) -> tuple[str, Curves]:
    """Name of the choice and its curves, one a gamma; none where its values are no numbers."""
    curves: Curves = {}
    choice = ""
    for setting, methods in by_setting(runs).items():
        columns = columns_of(methods)
        for method, cells in methods.items():
            match = _NUMBER.match(method)
            mean = mean_of(cells, columns) or mean_of(cells, columns, "accuracy")
            if match and mean:
                choice = match[1]
                curves.setdefault(f"gamma {setting.gamma:g}", []).append((float(match[2]), mean))
    return choice, {name: sorted(points) for name, points in curves.items()}


def draw_ablation(runs: Sequence[Run], file: Path) -> bool:
    """Write a PNG of :func:`curves_of`; False where there is nothing to draw."""
    choice, curves = curves_of(runs)
    if not curves:
        return False
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, (name, points) in enumerate(curves.items()):
        x = [value for value, _ in points]
        y = [100 * mean.value for _, mean in points]
        spread = [100 * (mean.std or 0.0) for _, mean in points]
        axes.errorbar(x, y, spread, color=_COLOURS[place % 5], marker=_MARKERS[place % 5],
                      capsize=3, label=name)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()
    axes.set_xlabel(choice)
    axes.set_ylabel("AUROC, or accuracy, in %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=130)
    return True
