"""What benchmarks of several draws share: their data, lines of results, and bands of curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem_bench.datasets import Part, load_named


def train_and_test(name: str, path: Path | None) -> tuple[Part, Part]:
    """Both parts of a data set.

    Raises:
        ValueError: It has test images alone.
    """
    parts = load_named(name, path)
    if parts.train is None:
        raise ValueError(f"{path or name} has no images to train on; give another set.")
    return parts.train, parts.test


class Results:
    """Lines of JSON, each appended as it is measured, so that a killed benchmark goes on.

    Args:
        file: Where they are kept; made if need be, with its folder.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        self.file = file
        self.lines = [json.loads(line) for line in file.read_text().splitlines()]

    def of(self, **wanted: Any) -> list[dict[str, Any]]:
        """The lines with these values."""
        return [line for line in self.lines if all(line[k] == v for k, v in wanted.items())]

    def add(self, line: dict[str, Any]) -> None:
        """Keep a line."""
        self.lines.append(line)
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


def bands(values: pd.DataFrame, styles: Mapping[str, tuple[str, str]]) -> tuple[Figure, Axes]:
    """A figure with a curve each of some names: the mean, and a band from lowest to highest.

    Args:
        values: Columns ``name``, ``x`` and ``y``, a row a draw.
        styles: Colour and marker by name, in the order of the legend.
    """
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, (colour, marker) in styles.items():
        y = values[values["name"] == name].groupby("x")["y"].agg(["mean", "min", "max"])
        axes.plot(y.index, y["mean"], color=colour, marker=marker, label=name)
        axes.fill_between(y.index, y["min"], y["max"], color=colour, alpha=0.15, linewidth=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure, axes
