"""Figures of an evaluation as drawings (SVG) within a page, in the colours of its text."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from anomem.evaluation.evaluate import Evaluation
from anomem.evaluation.intervals import precision_recall_band, roc_band
from anomem.evaluation.metrics import GRID, Values, precision_recall_on_grid, roc_on_grid
from anomem.report.colours import BLACK, BLUE, VERMILION

_SIZE = (4.6, 3.4)  # inches
_BINS = 40


def roc_figure(evaluation: Evaluation) -> str:
    """Draw the ROC curve with its 95% band, and the threshold on it."""
    pair = normal, anomalous = evaluation.normal, evaluation.anomalous
    figure, axes = _figure("normal images called anomalous", "anomalies found")
    axes.plot([0, 1], [0, 1], color=BLACK, linewidth=0.8, linestyle=":", label="guessing")
    _draw(axes, roc_on_grid(*pair), roc_band(*pair))
    threshold = evaluation.threshold
    _mark(axes, (normal > threshold).mean(), (anomalous > threshold).mean())
    axes.legend(loc="lower right", frameon=False)
    return _svg(figure, "roc")


def precision_figure(evaluation: Evaluation) -> str:
    """Draw the precision-recall curve with its 95% band, and the threshold on it."""
    pair = evaluation.normal, evaluation.anomalous
    figure, axes = _figure("anomalies found", "right among those called anomalous")
    _draw(axes, precision_recall_on_grid(*pair), precision_recall_band(*pair))
    if evaluation.called.any():
        right = (evaluation.label[evaluation.called] == 1).mean()
        _mark(axes, (evaluation.anomalous > evaluation.threshold).mean(), right)
    axes.legend(loc="lower left", frameon=False)
    return _svg(figure, "precision")


def histogram_figure(evaluation: Evaluation) -> str:
    """Draw the scores of normal and of anomalous images, and the threshold between them."""
    figure, axes = _figure("score", "share of images")
    edges = np.histogram_bin_edges(evaluation.score, bins=_BINS)
    for scores, colour, name, style in (
        (evaluation.normal, BLUE, "normal", {"histtype": "stepfilled", "alpha": 0.6}),
        (evaluation.anomalous, VERMILION, "anomalous", {"histtype": "step", "linewidth": 1.8}),
    ):
        share = np.full(len(scores), 1 / len(scores))
        axes.hist(scores, edges, weights=share, color=colour, label=name, **style)
    line = {"color": BLACK, "linewidth": 1.2, "linestyle": "--"}
    axes.axvline(evaluation.threshold, label="threshold", **line)
    axes.legend(frameon=False)
    return _svg(figure, "histogram")


def _figure(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw(axes: Any, curve: Values, band: tuple[Values, Values]) -> None:
    axes.fill_between(GRID, *band, color=BLUE, alpha=0.2, linewidth=0, label="95% interval")
    axes.plot(GRID, curve, color=BLUE)
    axes.set_ylim(0, 1.03)


def _mark(axes: Any, x: float, y: float) -> None:
    axes.plot([x], [y], "o", color=VERMILION, clip_on=False, zorder=3, label="threshold")


def _svg(figure: Figure, name: str) -> str:
    """The drawing, what is black in the colour of the text around it; its ids begin with a name."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for old, new in (
        ("<text ", '<text fill="currentColor" '),
        (BLACK, "currentColor"),
        ('id="', f'id="{name}-'),
        ("url(#", f"url(#{name}-"),
        ('href="#', f'href="#{name}-'),
    ):
        drawing = drawing.replace(old, new)
    return drawing
