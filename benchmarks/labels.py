"""AUROC against the number of labelled anomalies, for each way of learning from them.

    python benchmarks/labels.py --path DIR --normal horse --seconds 30 --draws 5 --out DIR

A draw is a training of the one-class detector and an order of the anomalies of the training set,
of which the first n are labelled. The ways: stage 2 alone on the frozen encoder (``adapt``),
fine-tuning of encoder and memories (``adapt`` at depth "encoder"), training anew with the labels
(``fit``), and a plain balanced classifier. Each training has the same seconds; adapting comes on
top of them. Measured on 1,000 test images of the class and 1,000 of all others. Every value is
appended to the results of its class and seconds as it is measured, so that a killed benchmark goes
on; the figure is drawn at the end.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem import AnoMem
from anomem.config import Config
from anomem.evaluation.metrics import auroc
from anomem.images.combined import choose
from anomem.images.source import ImageSource
from anomem.report.colours import BLACK, BLUE, GREEN, VERMILION
from anomem_bench.datasets import load_named
from anomem_bench.methods import METHODS
from anomem_bench.peers.supervised import Supervised
from anomem_bench.protocols.one_vs_all import OneVsAll, trained
from anomem_bench.split import Caps, Cell, Split

LABELS = (0, 1, 2, 5, 10, 50, 250)
TESTED = 1000
WAYS = {
    "stage 2 alone": (BLUE, "s"),
    "fine-tuning": (GREEN, "^"),
    "training anew": (VERMILION, "o"),
    "plain classifier": (BLACK, "x"),
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
    results = choices.out / f"labels-{choices.normal}-{choices.seconds:g}s.jsonl"
    lines = []
    if results.exists():
        lines = [json.loads(line) for line in results.read_text().splitlines()]
    parts = load_named("cifar10", choices.path)
    train = trained("cifar10", parts)
    normals = int((train.label == train.classes.index(choices.normal)).sum())
    # As many anomalies as the most labels; fewer labels are the first of them.
    gamma = LABELS[-1] / (LABELS[-1] + normals)
    protocol = OneVsAll("cifar10", parts, (choices.normal,), (gamma,), caps=Caps(tested=TESTED))
    for draw in range(choices.draws):
        split = protocol.split(Cell(choices.normal, gamma, "all", draw))
        known = {(line["way"], line["labels"]) for line in lines if line["draw"] == draw}
        for way, labels, value in measured(split, choices.seconds, draw, known):
            line = {"way": way, "labels": labels, "draw": draw, "auroc": round(value, 5)}
            lines.append(line)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"draw {draw}: {way}, {labels} labels: {100 * value:.1f}")
    draw_figure(lines, choices, results.with_suffix(".png"))


def measured(
    split: Split, seconds: float, draw: int, known: set[tuple[str, int]]
) -> Iterator[tuple[str, int, float]]:
    """AUROC of every way and number of labels of a draw that is not known yet."""
    ways = learners(split, seconds, draw)
    assert split.anomalies is not None
    for labels, (way, learn) in product(LABELS, ways.items()):
        if (way, labels) in known or (labels == 0 and way == "plain classifier"):
            continue
        first = choose(split.anomalies, np.arange(labels)) if labels else None
        detector = learn(first)
        normal, anomalous = (
            detector.decision_function(images)
            for images in (split.test_normals, split.test_anomalies[""])
        )
        yield way, labels, auroc(normal, anomalous)


def learners(
    split: Split, seconds: float, draw: int
) -> dict[str, Callable[[ImageSource | None], AnoMem | Supervised]]:
    """From labelled anomalies to a detector, by the name of the way."""

    @cache
    def one_class() -> AnoMem:
        return AnoMem(_in_time("default", seconds), seed=draw).fit(split.normals)

    def adapted(anomalies: ImageSource | None, **depth: Any) -> AnoMem:
        if anomalies is None:
            return one_class()
        label = np.ones(len(anomalies), dtype=np.int64)
        return copy.deepcopy(one_class()).adapt(anomalies, label, **depth)

    def anew(anomalies: ImageSource | None) -> AnoMem:
        if anomalies is None:
            return one_class()
        detector = AnoMem(_in_time("default", seconds), seed=draw)
        return detector.fit(split.normals, anomalies=anomalies)

    def classifier(anomalies: ImageSource | None) -> Supervised:
        plain = Supervised(_in_time("supervised", seconds), seed=draw)
        return plain.fit(split.normals, anomalies=anomalies)

    return {
        "stage 2 alone": adapted,
        "fine-tuning": partial(adapted, depth="encoder", normal=split.normals),
        "training anew": anew,
        "plain classifier": classifier,
    }


def _in_time(method: str, seconds: float) -> Config:
    config = METHODS[method].config
    return replace(config, stage1=replace(config.stage1, max_seconds=seconds))


def draw_figure(lines: list[dict[str, Any]], choices: Figures, file: Path) -> None:
    """Mean over the draws of each way, with the band from the lowest to the highest draw."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for way, (colour, marker) in WAYS.items():
        found: defaultdict[int, list[float]] = defaultdict(list)
        for line in lines:
            if line["way"] == way:
                found[line["labels"]].append(100 * line["auroc"])
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
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Figures))
