"""Whether a memory covers the rare normals, where k-means would not (a claim of the paper).

    python benchmarks/rare_normals.py --path DIR --common horse --rare ship --out DIR

The normals are one class of CIFAR-10 with a few images of another, all normal. On the features of
one training, the learnt prototypes are compared with as many k-means centroids and with the mean
alone; once with the contrast of ``scratch`` (all normals softly one class) and once with that
of the paper (each image its own). Measured on test images: the deviation (Eq. 6) of common normals,
rare normals and all other classes, in multiples of that of common normals; and the AUROC of the
others against each kind of normal, by that deviation and by the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomem import AnoMem
from anomem.config.mapping import changed
from anomem.config.presets import scratch
from anomem.detector.score import score_features
from anomem.detector.train_scorer import new_scorer
from anomem.evaluation.metrics import auroc
from anomem.images.image_set import Chosen
from anomem.images.prepare import prepare
from anomem.model.features import extract_set
from anomem.model.network import MultiScaleMemory
from anomem.model.scorer import fuse
from anomem.report.colours import BLUE, GREEN, VERMILION
from anomem_bench.datasets import Part
from anomem_bench.ours import with_centroids
from draws import Results, train_and_test

CONTRASTS = {"all normals as one class (scratch)": 100.0, "each image its own class (paper)": 0.0}
GROUPS = {"common normals": BLUE, "rare normals": GREEN, "anomalies": VERMILION}
TESTED = 1000


@dataclass(frozen=True)
class Figures:
    """What is measured.

    Attributes:
        path: Where CIFAR-10 lies.
        out: Folder of the results.
        common: Class of most normals.
        rare: Class of the rare normals.
        share: Of the rare among the normals.
        steps: Of a training.
        draws: Number of draws.
    """

    path: Path
    out: Path
    common: str = "horse"
    rare: str = "ship"
    share: float = 0.02
    steps: int = 600
    draws: int = 3


def main(choices: Figures) -> None:
    """Measure, and draw the figure."""
    train, test = train_and_test("cifar10", choices.path)
    results = Results(choices.out / "coverage.jsonl")
    for draw in range(choices.draws):
        if not results.of(draw=draw):
            for line in list(measured(choices, train, test, draw)):
                results.add(line)
    draw_figure(results.lines, choices, results.file.with_suffix(".png"))


def measured(choices: Figures, train: Part, test: Part, draw: int) -> Iterator[dict[str, Any]]:
    """A line for each contrast and memory."""
    rng = np.random.default_rng(draw)
    common, rare = (rng.permutation(train.of([name])) for name in (choices.common, choices.rare))
    few = round(choices.share * len(common))
    images = train.choose(np.concatenate([common[few:], rare[:few]])).images
    others = [c for c in test.classes if c not in (choices.common, choices.rare)]
    tested = {
        "common normals": test.of([choices.common]),
        "rare normals": test.of([choices.rare]),
        "anomalies": rng.permutation(test.of(others))[:TESTED],
    }
    for contrast, soft_class in CONTRASTS.items():
        config = changed(scratch(), {"loss__soft_class": soft_class,
                                     "stage1__min_steps": choices.steps,
                                     "stage1__max_steps": choices.steps})  # fmt: skip
        model = AnoMem(config, device="cpu", seed=draw).fit(images)
        shape, network = model.framing_.shape, model.network_
        normals = Chosen.of(prepare(images, shape))
        groups = {k: prepare(test.choose(v).images, shape) for k, v in tested.items()}
        memories = {
            "learnt": network,
            "k-means": with_centroids(network, normals, draw, config.memory.sizes),
            "mean alone": with_centroids(network, normals, draw, None),
        }
        for name, with_memory in memories.items():
            figures = figures_of(with_memory, config, normals, groups)
            yield {"draw": draw, "contrast": contrast, "memory": name, **figures}


def figures_of(
    network: MultiScaleMemory, config: Any, normals: Chosen, groups: dict[str, Any]
) -> dict[str, float]:
    """Deviation of each group, and AUROC of the anomalies against either kind of normal."""
    detector = new_scorer(network.pooled_widths, config).eval()
    usual = extract_set(network, normals.spread(2 * TESTED))
    # A normal that is remembered explains itself.
    detector.fit_normals(usual.pooled[::2], usual.at(torch.arange(1, len(usual), 2)))
    found = {name: extract_set(network, images) for name, images in groups.items()}
    deviation = {k: fuse(v.scores, detector.lambdas).numpy() for k, v in found.items()}
    score = {k: score_features(detector, v).numpy() for k, v in found.items()}
    usual = deviation["common normals"].mean()
    figures = {name: float(values.mean() / usual) for name, values in deviation.items()}
    for kind in ("common", "rare"):
        for what, values in (("deviation", deviation), ("score", score)):
            value = auroc(values[f"{kind} normals"], values["anomalies"])
            figures[f"AUROC against {kind}, {what}"] = value
    return {name: round(value, 4) for name, value in figures.items()}


def draw_figure(lines: list[dict[str, Any]], choices: Figures, file: Path) -> None:
    """Deviation of each group by memory, a panel for each contrast."""
    figure = Figure(figsize=(9.2, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(CONTRASTS), sharey=True)
    table = pd.DataFrame(lines)
    memories = list(table["memory"].unique())
    for axes, contrast in zip(panels, CONTRASTS, strict=True):
        own = table[table["contrast"] == contrast].groupby("memory")[list(GROUPS)]
        mean, spread = own.mean().loc[memories], own.std().fillna(0).loc[memories]
        for offset, (group, colour) in enumerate(GROUPS.items()):
            axes.bar(np.arange(len(memories)) + 0.27 * (offset - 1), mean[group], 0.25,
                     yerr=spread[group], color=colour, label=group, capsize=2)  # fmt: skip
        axes.set_xticks(range(len(memories)), memories)
        axes.set_title(contrast, fontsize=10)
    panels[0].set_ylabel("deviation / that of common normals")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(
        f"{100 * choices.share:g}% of the normals are {choices.rare}, the rest {choices.common} "
        f"({choices.draws} draws)",
        fontsize=11,
    )
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Figures, description=__doc__))
