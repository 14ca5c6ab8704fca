"""Prototypes among test samples, as a picture and as a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem.report.colours import BLACK, BLUE, VERMILION
from anomem.runtime.files import replacing, write_text
from anomem_bench.protocols.prototypes import Layout

_STYLES = (
    ("normal test images", BLUE, ".", 12, 0.45),
    ("anomalous test images", VERMILION, "x", 12, 0.45),
    ("prototypes", BLACK, "*", 40, 0.9),
)


def draw_prototypes(layout: Layout, title: str, file: Path) -> None:
    """Write a PNG, a panel for each scale."""
    scales = len(layout.points)
    figure = Figure(figsize=(4.6 * scales, 4.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, scales, squeeze=False)[0]
    for scale, (axes, points, kinds) in enumerate(
        zip(grid, layout.points, layout.kinds, strict=True), start=1
    ):
        for kind, (label, colour, marker, size, alpha) in enumerate(_STYLES):
            x, y = points[kinds == kind].T
            axes.scatter(x, y, c=colour, marker=marker, s=size, alpha=alpha, linewidths=0.8,
                         label=label)  # fmt: skip
        axes.set_title(f"scale {scale}, {layout.counts[scale - 1]} prototypes", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(title, fontsize=11)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    with replacing(file) as part:
        figure.savefig(part, format="png", dpi=130)


def write_prototypes(layout: Layout, file: Path) -> None:
    """Write a CSV: scale, kind, x and y of each point."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["scale", "kind", "x", "y"])
    for scale, (points, kinds) in enumerate(zip(layout.points, layout.kinds, strict=True), 1):
        for (x, y), kind in zip(points, kinds, strict=True):
            rows.writerow([scale, _STYLES[kind][0], f"{x:.3f}", f"{y:.3f}"])
    write_text(file, text.getvalue())
