"""AUROC against the number of labelled anomalies, for each way of learning from them.

    python benchmarks/labels.py --path DIR --normal horse --seconds 30 --draws 5 --out DIR

A draw is a training of the one-class detector and an order of the anomalies of the training set,
of which the first n are labelled. The ways: stage 2 alone on the frozen encoder (``adapt``),
fine-tuning of encoder and memories (``adapt`` at depth "encoder"), training anew with the labels
(``fit``), and a plain balanced classifier. Each training has the same seconds; adapting comes on
top of them. Measured on 2,000 test images. Every figure is appended to ``labels.jsonl`` as it is
measured, so that a killed benchmark goes on; the figure is drawn at the end.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from anomem import AnoMem
from anomem.baselines.supervised import Supervised
from anomem.config import Config
from anomem.data.named import load_named
from anomem.evaluation.methods import METHODS
from anomem.evaluation.one_vs_all import Cell, Split, split_of

LABELS = (0, 1, 2, 5, 10, 50, 250)
TESTED = 2000
WAYS = {
    "stage 2 alone": ("#0072B2", "s"),
    "fine-tuning": ("#009E73", "^"),
    "training anew": ("#D55E00", "o"),
    "plain classifier": ("#000000", "x"),
}


@dataclass(frozen=True)
class Figures:
    """What is measured.

    Attributes:
        path: Where CIFAR-10 lies.
        normal: Name of the normal class.
        seconds: Wall-clock seconds of a training.
        draws: Number of draws.
        out: Folder of the results.
    """

    path: Path
    out: Path
    normal: str = "horse"
    seconds: float = 30.0
    draws: int = 5


def main(choices: Figures) -> None:
    """Measure what is missing, and draw the figure."""
    choices.out.mkdir(parents=True, exist_ok=True)
    results = choices.out / "labels.jsonl"
    lines = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    train, test = load_named("cifar10", choices.path)
    known = {(line["way"], line["labels"], line["draw"]) for line in lines}
    for draw in range(choices.draws):
        wanted = {(way, n, draw) for way in WAYS for n in LABELS if n or way != "plain classifier"}
        if wanted <= known:
            continue
        # The most labels of one draw, in an order of which each number of labels takes the first.
        gamma = max(LABELS) / (
            max(LABELS) + int((train.label == train.classes.index(choices.normal)).sum())
        )
        split = split_of(Cell(choices.normal, gamma, "all", draw), train, test, "test")
        for way, labels, auroc in measured(split, choices.seconds, draw):
            if (way, labels, draw) not in known:
                line = {
                    "normal": choices.normal,
                    "seconds": choices.seconds,
                    "way": way,
                    "labels": labels,
                    "draw": draw,
                    "auroc": round(auroc, 5),
                }
                lines.append(line)
                with results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"draw {draw}: {way}, {labels} labels: {100 * auroc:.1f}")
    draw_figure(lines, choices)


def measured(split: Split, seconds: float, draw: int) -> Iterator[tuple[str, int, float]]:
    """AUROC of every way and number of labels of a draw."""
    few = np.linspace(0, len(split.test) - 1, TESTED).round().astype(int)
    test, truth = split.test[few], split.test_label[few]

    def auroc(detector: AnoMem | Supervised) -> float:
        return float(roc_auc_score(truth, detector.decision_function(test)))

    one_class = AnoMem(_in_time("default", seconds), seed=draw).fit(split.normals)
    before = auroc(one_class)
    for way in list(WAYS)[:3]:
        yield way, 0, before
    for labels in LABELS[1:]:
        anomalies = split.anomalies[:labels]
        label = np.ones(labels, dtype=np.int64)
        heads = copy.deepcopy(one_class).adapt(anomalies, label)
        yield "stage 2 alone", labels, auroc(heads)
        tuned = copy.deepcopy(one_class)
        tuned.adapt(anomalies, label, depth="encoder", normal=split.normals)
        yield "fine-tuning", labels, auroc(tuned)
        anew = AnoMem(_in_time("default", seconds), seed=draw)
        yield "training anew", labels, auroc(anew.fit(split.normals, anomalies=anomalies))
        plain = Supervised(_in_time("supervised", seconds), seed=draw)
        yield "plain classifier", labels, auroc(plain.fit(split.normals, anomalies=anomalies))


def _in_time(method: str, seconds: float) -> Config:
    config = METHODS[method].config
    return replace(config, stage1=replace(config.stage1, max_seconds=seconds))


def draw_figure(lines: list[dict[str, object]], choices: Figures) -> None:
    """Mean over the draws of each way, with the band from the lowest to the highest draw."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for way, (colour, marker) in WAYS.items():
        found: defaultdict[int, list[float]] = defaultdict(list)
        for line in lines:
            if line["way"] == way:
                found[int(str(line["labels"]))].append(100 * float(str(line["auroc"])))
        counts = sorted(found)
        where = [LABELS.index(count) for count in counts]
        axes.plot(where, [fmean(found[n]) for n in counts], color=colour, marker=marker, label=way)
        low, high = ([f(found[n]) for n in counts] for f in (min, max))
        axes.fill_between(where, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(LABELS)), [str(n) for n in LABELS])
    axes.set_xlabel("labelled anomalies")
    axes.set_ylabel("AUROC (%)")
    axes.set_title(
        f"CIFAR-10, {choices.normal} normal, {choices.seconds:g} s a training; "
        f"{choices.draws} draws, lowest to highest",
        fontsize=10,
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(choices.out / f"labels-{choices.normal}.png", dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Figures))
