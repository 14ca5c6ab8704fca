"""AUROC against the number of answers of a person, by the order in which images are asked for.

    python benchmarks/labelling.py --data tiles --path DIR --out DIR
    python benchmarks/labelling.py --data cifar10 --normal horse --path DIR --out DIR

Simulated: the person answers with the true label. A seed is a training of the one-class detector on
some of the normals, and a draw of the images to label: other normals, and anomalies. Every five
answers the detector learns from all of them, as at the button of ``anomem label``, and sorts anew.
Measured on images that are in neither. Every curve is appended to the results as it is measured, so
that a killed benchmark goes on; the figure is drawn at the end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import tyro

from anomem import AnoMem
from anomem.detector.score import score_features
from anomem.evaluation.metrics import auroc
from anomem.images.combined import JoinedSource, choose
from anomem.images.prepare import prepare
from anomem.images.source import ImageSource
from anomem.labelling.order import most_telling_first
from anomem.model.features import Features, extract_set
from anomem.report.colours import BLACK, BLUE, VERMILION
from anomem_bench.datasets.parts import Part
from draws import Results, bands, train_and_test

BETWEEN = 5
"""Answers between two learnings."""
SHOWN = (0, 5, 10, 20, 50)

Scores = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

ORDERS: dict[str, tuple[str, str]] = {
    "most telling first": (VERMILION, "o"),
    "most anomalous first": (BLUE, "s"),
    "at random": (BLACK, "x"),
}


@dataclass(frozen=True)
class Figures:
    """What is measured.

    Attributes:
        path: Where the data lies.
        data: Magnetic tiles as MVTec AD lays them out, or CIFAR-10.
        out: Folder of the results.
        normal: Normal class of CIFAR-10.
        seeds: Number of seeds.
    """

    path: Path
    data: Literal["tiles", "cifar10"]
    out: Path
    normal: str = "horse"
    seeds: int = 5


@dataclass(frozen=True)
class Loop:
    """Images of one seed: to train on, to label, to test on; label 1 is anomalous."""

    normals: ImageSource
    unlabelled: ImageSource
    truth: Indices
    test: ImageSource
    test_truth: Indices


def main(choices: Figures) -> None:
    """Measure what is missing, and draw the figure."""
    name = choices.data if choices.data == "tiles" else choices.normal
    results = Results(choices.out / f"{name}.jsonl")
    for seed in range(choices.seeds):
        missing = set(ORDERS) - {line["order"] for line in results.of(seed=seed)}
        if not missing:
            continue
        loop = tiles(choices.path, seed) if choices.data == "tiles" else cifar10(choices, seed)
        detector = AnoMem("scratch", seed=seed).fit(loop.normals)
        shape = detector.framing_.shape
        measured = [
            extract_set(detector.network_, prepare(images, shape))
            for images in (loop.unlabelled, loop.test)
        ]
        for order in sorted(missing):
            curve, found = answered(copy.deepcopy(detector), loop, order, seed, measured)
            results.add({"order": order, "seed": seed, "auroc": curve, "found": found})
    draw_figure(results.lines, name, results.file.with_suffix(".png"))


def answered(
    detector: AnoMem, loop: Loop, order: str, seed: int, measured: list[Features]
) -> tuple[dict[str, float], int]:
    """AUROC on the test images by the number of answers, and how many of these were anomalous."""
    unlabelled, test = measured
    next_of = _orders(seed)[order]
    known: list[int] = []
    curve = {"0": _auroc(detector, test, loop.test_truth)}
    while len(known) < SHOWN[-1]:
        scores = score_features(detector.scorer_, unlabelled).numpy()
        ranked = next_of(scores, detector.threshold(0.05))
        asked = [int(i) for i in ranked if int(i) not in set(known)][:BETWEEN]
        detector.adapt(choose(loop.unlabelled, np.array(asked)), loop.truth[asked])
        known += asked
        curve[str(len(known))] = _auroc(detector, test, loop.test_truth)
    return curve, int(loop.truth[known].sum())


def _orders(seed: int) -> dict[str, Callable[[Scores, float], Indices]]:
    rng = np.random.default_rng(seed)
    return {
        "most telling first": most_telling_first,
        "most anomalous first": lambda scores, _: np.argsort(-scores, kind="stable"),
        "at random": lambda scores, _: rng.permutation(len(scores)),
    }


def _auroc(detector: AnoMem, test: Features, truth: Indices) -> float:
    scores = score_features(detector.scorer_, test).numpy()
    return round(auroc(scores[truth == 0], scores[truth == 1]), 5)


def tiles(path: Path, seed: int) -> Loop:
    """Of the training normals 60% to learn from and the others to label, with 60 anomalies."""
    (train, test), rng = train_and_test("mvtec_ad", path), np.random.default_rng(seed)
    normals = rng.permutation(len(train))
    first = round(0.6 * len(normals))
    good = test.label == test.classes.index("good")
    anomalies = rng.permutation(np.flatnonzero(~good))
    return _loop(
        train.choose(normals[:first]), train.choose(normals[first:]), test.choose(anomalies[:60]),
        test.choose(np.flatnonzero(good)), test.choose(anomalies[60:]),
    )  # fmt: skip


def cifar10(choices: Figures, seed: int) -> Loop:
    """2,000 normals to learn from, 1,000 others and 200 anomalies to label, 1,000 each to test."""
    (train, test), rng = train_and_test("cifar10", choices.path), np.random.default_rng(seed)
    number = train.classes.index(choices.normal)
    normals, anomalies, test_normals, test_anomalies = (
        rng.permutation(np.flatnonzero((part.label == number) == normal))
        for part in (train, test)
        for normal in (True, False)
    )
    return _loop(
        train.choose(normals[:2000]), train.choose(normals[2000:3000]),
        train.choose(anomalies[:200]), test.choose(test_normals[:1000]),
        test.choose(test_anomalies[:1000]),
    )  # fmt: skip


def _loop(
    normals: Part, more_normals: Part, anomalies: Part, test_normals: Part, test_anomalies: Part
) -> Loop:
    return Loop(
        normals.images,
        JoinedSource([more_normals.images, anomalies.images]),
        np.repeat([0, 1], [len(more_normals), len(anomalies)]),
        JoinedSource([test_normals.images, test_anomalies.images]),
        np.repeat([0, 1], [len(test_normals), len(test_anomalies)]),
    )


def draw_figure(lines: list[dict[str, Any]], name: str, file: Path) -> None:
    """Mean change over the seeds of each order, with the band from the lowest to the highest."""
    rows = [
        (line["order"], int(count), 100 * (value - line["auroc"]["0"]))
        for line in lines
        for count, value in line["auroc"].items()
    ]
    figure, axes = bands(pd.DataFrame(rows, columns=["name", "x", "y"]), ORDERS)
    seeds = len({line["seed"] for line in lines})
    axes.set_xlabel("answers")
    axes.set_ylabel("change of AUROC (points)")
    axes.set_title(f"{name}; {seeds} seeds, lowest to highest", fontsize=10)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Figures))
