"""Curves of an ablation: a measure against the numbers that one choice takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem.report.colours import BLACK, BLUE, GREEN, PURPLE, VERMILION
from anomem.runtime.files import replacing
from anomem_bench.results import Mean, Run, averaged, by_setting, columns_of, mean_of

_COLOURS = (VERMILION, BLUE, GREEN, BLACK, PURPLE)
_MARKERS = "osD^v"
_NUMBER = re.compile(r"(.*?) ([\d.]+)$")

Points = list[tuple[float, Mean]]
"""Value of the choice, and mean over columns and draws."""


def curves_of(runs: Sequence[Run]) -> dict[str, dict[str, Points]]:
    """Curves of choices whose values are numbers, by choice and by setting."""
    curves: dict[str, dict[str, Points]] = {}
    for setting, methods in by_setting(runs).items():
        columns = averaged(columns_of(methods))
        for method, cells in methods.items():
            match = _NUMBER.match(method)
            mean = mean_of(cells, columns) or mean_of(cells, columns, "accuracy")
            if match and mean:
                name = f"{setting.data}, {setting.budget:g} s, gamma {setting.gamma:g}"
                own = curves.setdefault(match[1], {}).setdefault(name, [])
                own.append((float(match[2]), mean))
    return {
        choice: {name: sorted(points) for name, points in lines.items()}
        for choice, lines in curves.items()
    }


def draw_ablations(runs: Sequence[Run], file: Path) -> None:
    """Write a PNG of :func:`curves_of`, a panel for each choice; nothing where there is none."""
    curves = curves_of(runs)
    if not curves:
        return
    figure = Figure(figsize=(5.2 * len(curves), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (choice, lines) in zip(grid, curves.items(), strict=True):
        for place, (name, points) in enumerate(lines.items()):
            x = [value for value, _ in points]
            y = [100 * mean.value for _, mean in points]
            spread = [100 * (mean.std or 0.0) for _, mean in points]
            axes.errorbar(x, y, spread, color=_COLOURS[place % len(_COLOURS)], capsize=3,
                          marker=_MARKERS[place % len(_MARKERS)], label=name)  # fmt: skip
            axes.set_xscale("log")
            axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.minorticks_off()
        axes.set_xlabel(choice)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    grid[0].set_ylabel("AUROC, or accuracy, in %")
    with replacing(file) as part:
        figure.savefig(part, format="png", dpi=130)
