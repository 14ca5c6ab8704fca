"""Prototypes among test samples, as a picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem.report.colours import BLACK, BLUE, VERMILION
from anomem.runtime.files import replacing
from anomem_bench.protocols.prototypes import KINDS

_STYLES = ((BLUE, ".", 12, 0.45), (VERMILION, "x", 12, 0.45), (BLACK, "*", 40, 0.9))


def draw_prototypes(layout: pd.DataFrame, title: str, file: Path) -> None:
    """Write a PNG of :func:`prototypes_among_samples`, a panel for each scale."""
    scales = layout["scale"].max()
    figure = Figure(figsize=(4.6 * scales, 4.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, scales, squeeze=False)[0]
    for axes, (scale, points) in zip(grid, layout.groupby("scale"), strict=True):
        for kind, (colour, marker, size, alpha) in zip(KINDS, _STYLES, strict=True):
            own = points[points["kind"] == kind]
            axes.scatter(own["x"], own["y"], c=colour, marker=marker, s=size, alpha=alpha,
                         linewidths=0.8, label=kind)  # fmt: skip
        count = (points["kind"] == KINDS[-1]).sum()
        axes.set_title(f"scale {scale}, {count} prototypes", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(title, fontsize=11)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    with replacing(file) as part:
        figure.savefig(part, format="png", dpi=130)
