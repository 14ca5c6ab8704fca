"""A new kind of normal: ``extend`` against new fits on both kinds.

    python benchmarks/extend.py --path DIR --out DIR [--pairs horse+deer,airplane+ship]

A detector is fitted on one class of CIFAR-10 and learns another by ``extend`` (``anomem fit
--from``), which never sees the first again. Beside it stand new fits on both classes, each with its
own seconds. Measured on test images, with the eight other classes as anomalies: AUROC against both
kinds of normal and against each, and the share of each kind that is called anomalous at alpha .05.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from anomem import AnoMem
from anomem.config.mapping import changed
from anomem.config.presets import scratch
from anomem.evaluation.metrics import auroc
from anomem.images.combined import JoinedSource
from anomem.images.source import ImageSource
from anomem.runtime.allocator import keep_freed_memory
from anomem_bench.datasets import Part
from draws import Results, train_and_test

TESTED = 2000
ALPHA = 0.05
SHARES = (0.1, 1 / 3, 1.0)
WAYS = ("before", "extend", *(f"new fit, {share:.2g}" for share in SHARES))


@dataclass(frozen=True)
class Figures:
    """What is measured.

    Attributes:
        path: Where CIFAR-10 lies.
        out: Folder of the results.
        pairs: Old and new class, joined by +, separated by commas.
        seconds: Of the first fit; new fits have as many, a third and a tenth of them.
        draws: Number of seeds.
    """

    path: Path
    out: Path
    pairs: str = "horse+deer,airplane+ship"
    seconds: float = 60.0
    draws: int = 2


def main(choices: Figures) -> None:
    """Measure every pair and draw."""
    train, test = train_and_test("cifar10", choices.path)
    results = Results(choices.out / "extend.jsonl")
    for pair in choices.pairs.split(","):
        for draw in range(choices.draws):
            known = {line["way"] for line in results.of(pair=pair, draw=draw)}
            if known != set(WAYS):
                for line in measured(pair, choices.seconds, train, test, draw):
                    if line["way"] not in known:
                        results.add({"pair": pair, "draw": draw, **line})


def measured(
    pair: str, seconds: float, train: Part, test: Part, draw: int
) -> Iterator[dict[str, Any]]:
    """A line for the old model, for ``extend``, and for each new fit."""
    old, new = pair.split("+")
    others = [name for name in test.classes if name not in (old, new)]
    rng = np.random.default_rng(draw)
    odd = rng.permutation(test.of(others))[:TESTED]
    tested = {"old": test.of([old]), "new": test.of([new]), "odd": odd}
    images = {name: test.choose(indices).images for name, indices in tested.items()}
    before, after = (train.choose(train.of([name])).images for name in (old, new))
    model, spent = fitted(before, seconds, draw)
    yield {"way": "before", "seconds": spent, **figures_of(model, images)}
    begun = time.monotonic()
    model.extend(after)
    spent = round(time.monotonic() - begun, 1)
    yield {"way": "extend", "seconds": spent, **figures_of(model, images)}
    for share in SHARES:
        model, spent = fitted(JoinedSource([before, after]), share * seconds, draw)
        yield {"way": f"new fit, {share:.2g}", "seconds": spent, **figures_of(model, images)}


def fitted(images: ImageSource, seconds: float, seed: int) -> tuple[AnoMem, float]:
    """A fit whose stage 1 ends by the clock, and the seconds of all of it."""
    by_clock = {
        "stage1__min_steps": 10**9, "stage1__max_steps": None, "stage1__max_seconds": seconds,
    }  # fmt: skip
    config = changed(scratch(), by_clock)
    begun = time.monotonic()
    model = AnoMem(config, device="cpu", seed=seed).fit(images)
    return model, round(time.monotonic() - begun, 1)


def figures_of(model: AnoMem, images: dict[str, ImageSource]) -> dict[str, float]:
    """AUROC against both kinds and each, and the false alarms of each."""
    scores = {name: model.decision_function(source) for name, source in images.items()}
    both = np.concatenate([scores["old"], scores["new"]])
    threshold = model.threshold(ALPHA)
    figures = {
        "both": auroc(both, scores["odd"]),
        "old": auroc(scores["old"], scores["odd"]),
        "new": auroc(scores["new"], scores["odd"]),
        "old called anomalous": float((scores["old"] > threshold).mean()),
        "new called anomalous": float((scores["new"] > threshold).mean()),
    }
    return {name: round(value, 4) for name, value in figures.items()}


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(1)
    main(tyro.cli(Figures, description=__doc__))
