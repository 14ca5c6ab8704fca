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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro

from anomem import AnoMem
from anomem.config import Config
from anomem.evaluation.metrics import auroc
from anomem.images.combined import choose
from anomem.images.source import ImageSource
from anomem.report.colours import BLACK, BLUE, GREEN, VERMILION
from anomem_bench.datasets import load_named
from anomem_bench.methods import METHODS
from anomem_bench.peers.supervised import Supervised
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.split import Caps, Cell, Split
from draws import Results, bands

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
    results = Results(choices.out / f"labels-{choices.normal}-{choices.seconds:g}s.jsonl")
    parts = load_named("cifar10", choices.path)
    normals = len(OneVsAll("cifar10", parts).train.of([choices.normal]))
    # As many anomalies as the most labels; fewer labels are the first of them.
    gamma = LABELS[-1] / (LABELS[-1] + normals)
    classes, caps = (choices.normal,), Caps(tested=TESTED)
    protocol = OneVsAll("cifar10", parts, classes=classes, gammas=(gamma,), caps=caps)
    for draw in range(choices.draws):
        split = protocol.split(Cell(choices.normal, gamma, "all", draw))
        known = {(line["way"], line["labels"]) for line in results.of(draw=draw)}
        for way, labels, value in measured(split, choices.seconds, draw, known):
            results.add({"way": way, "labels": labels, "draw": draw, "auroc": round(value, 5)})
    draw_figure(results.lines, choices, results.file.with_suffix(".png"))


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
        return AnoMem(_in_time("scratch", seconds), seed=draw).fit(split.normals)

    def adapted(anomalies: ImageSource | None, **depth: Any) -> AnoMem:
        if anomalies is None:
            return one_class()
        label = np.ones(len(anomalies), dtype=np.int64)
        return copy.deepcopy(one_class()).adapt(anomalies, label, **depth)

    def anew(anomalies: ImageSource | None) -> AnoMem:
        if anomalies is None:
            return one_class()
        detector = AnoMem(_in_time("scratch", seconds), seed=draw)
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
    table = pd.DataFrame(lines).rename(columns={"way": "name"})
    table["x"], table["y"] = table["labels"].map(LABELS.index), 100 * table["auroc"]
    figure, axes = bands(table, WAYS)
    axes.set_xticks(range(len(LABELS)), [str(n) for n in LABELS])
    axes.set_xlabel("labelled anomalies")
    axes.set_ylabel("AUROC (%)")
    axes.set_title(
        f"CIFAR-10, {choices.normal} normal, {choices.seconds:g} s a training; "
        f"{choices.draws} draws, lowest to highest",
        fontsize=10,
    )
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Figures))
