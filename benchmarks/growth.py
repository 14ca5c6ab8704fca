"""Cost against the number of training images: AnoMem, PatchCore of anomalib, cosine neighbours.

    pip install -r benchmarks/requirements.txt
    python benchmarks/growth.py --out growth.json --figure growth.svg [--patchcore-limit 1800]

On photographs of 32 px, in one process. AnoMem is ``scratch`` with a fixed number of steps. The
others are given its trained encoder for nothing: their fit is to pass all images through it, and
to choose a coreset of a tenth of the places at the same two scales (PatchCore, as in anomalib) or
to keep one unit vector an image (neighbours). A fit is timed once, scoring of an array in turn,
without heat maps; AnoMem looks at an image four times, as that preset does. Size is what must be on
disk to score: AnoMem's folder, with what it keeps to learn from labels; encoder and memory bank.
Where a fit of PatchCore would exceed its limit if it grew with the square of the images, its
seconds are extrapolated by a power law, and the rest is measured with as many places at random.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from timeit import timeit
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

from anomalib_models import PatchCore, at_random, greedy
from anomem import AnoMem
from anomem.config.mapping import changed
from anomem.config.presets import scratch
from anomem.report.colours import BLUE, GREEN, VERMILION
from anomem.runtime.allocator import keep_freed_memory
from frozen import Neighbours, Pixels
from step import crops
from turns import machine

SIDE, CORESET = 32, 0.1
OURS, PATCHCORE, NEIGHBOURS = "AnoMem", "PatchCore", "neighbours"
STYLES = {OURS: (VERMILION, "o"), PATCHCORE: (BLUE, "s"), NEIGHBOURS: (GREEN, "^")}
PANELS = {"fit_seconds": "fit, s", "score_seconds": "score 1,000 images, s", "size": "size, bytes"}


@dataclass(frozen=True)
class Growth:
    """What is measured.

    Attributes:
        out: JSON file, written anew after each number of training images.
        figure: Picture, .svg or .png.
        images: Numbers of training images.
        steps: Of stage 1 of AnoMem, whatever the number of images.
        scored: Images scored in a round.
        rounds: Measured rounds; one more warms up.
        patchcore_limit: Seconds that a fit of PatchCore may take by prediction.
    """

    out: Path
    figure: Path | None = None
    images: tuple[int, ...] = (1_000, 3_000, 10_000)
    steps: int = 300
    scored: int = 1_000
    rounds: int = 5
    patchcore_limit: float = 1_800.0


@dataclass(frozen=True)
class Cost:
    """Of a method at a number of images: seconds (of a fit, of 1,000 scores), and bytes."""

    method: str
    images: int
    fit_seconds: float
    score_seconds: float
    size: int
    extrapolated: bool = False


class Ours:
    """The preset ``scratch``, with a fixed number of steps."""

    def __init__(self, steps: int) -> None:
        fixed = {"stage1__min_steps": steps, "stage1__max_steps": steps}
        self.model = AnoMem(changed(scratch(), fixed), device="cpu")
        self.fit, self.score = self.model.fit, self.model.decision_function

    def size(self) -> int:
        """Bytes of the saved folder."""
        with TemporaryDirectory() as folder:
            self.model.save(folder)
            return sum(path.stat().st_size for path in Path(folder).iterdir())


def costs(train: Pixels, scored: Pixels, choices: Growth, known: list[Cost]) -> Iterator[Cost]:
    """The cost of each method, given those at fewer training images."""
    count, ours = len(train), Ours(choices.steps)
    fits = {OURS: timeit(partial(ours.fit, train), number=1)}
    encoder = ours.model.network_.encoder
    neighbours = Neighbours(encoder)
    fits[NEIGHBOURS] = timeit(partial(neighbours.fit, train), number=1)
    earlier = [cost for cost in known if cost.method == PATCHCORE]
    expected = earlier[-1].fit_seconds * (count / earlier[-1].images) ** 2 if earlier else 0.0
    guessed = expected > choices.patchcore_limit
    print(f"{count:7,} images: {OURS} and {NEIGHBOURS} are fitted", flush=True)
    patchcore = PatchCore(encoder, CORESET, at_random if guessed else greedy)
    patchcore.model.anomaly_map_generator.forward = lambda distances, _: distances
    fits[PATCHCORE] = timeit(partial(patchcore.fit, train), number=1)
    if guessed:
        print(f"{count:7,} images: {PATCHCORE} would take {expected:.1f} s by the square")
        fits[PATCHCORE] = extrapolated([c for c in earlier if not c.extrapolated], count)
    methods: dict[str, Any] = {OURS: ours, NEIGHBOURS: neighbours, PATCHCORE: patchcore}
    rounds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(choices.rounds + 1):
        for name, method in methods.items():
            rounds[name].append(timeit(partial(method.score, scored), number=1))
    for name, method in methods.items():
        seconds = median(rounds[name][1:]) * 1_000 / len(scored)
        yield Cost(name, count, fits[name], seconds, method.size(), guessed and name == PATCHCORE)


def extrapolated(measured: Sequence[Cost], count: int) -> float:
    """Seconds of a fit, by a power of the images through those measured; the square of one."""
    images = np.log([cost.images for cost in measured])
    seconds = np.log([cost.fit_seconds for cost in measured])
    power = np.polyfit(images, seconds, 1)[0] if len(measured) > 1 else 2.0
    return float(np.exp(seconds.mean() + power * (np.log(count) - images.mean())))


def draw(known: Sequence[Cost], file: Path) -> None:
    """Each cost against the number of training images."""
    counts = sorted({cost.images for cost in known})
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    panels: Any = figure.subplots(1, len(PANELS))
    for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
        for method, (colour, marker) in STYLES.items():
            line = [cost for cost in known if cost.method == method]
            at = [cost.images for cost in line], [getattr(cost, name) for cost in line]
            faces = ["white" if c.extrapolated and name == "fit_seconds" else colour for c in line]
            axes.plot(*at, color=colour, zorder=1)
            axes.scatter(*at, c=faces, edgecolors=colour, marker=marker, label=method, zorder=2)
        axes.set(xscale="log", yscale="log", xlabel="training images", ylabel=label)
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.set_xticks([], minor=True)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle("hollow: extrapolated" if any(c.extrapolated for c in known) else "")
    figure.savefig(file, dpi=110)


def main(choices: Growth) -> None:
    """Measure, print, and draw the figure."""
    images, known = crops(max(choices.images) + choices.scored, SIDE), list[Cost]()
    scored = images[-choices.scored :]
    list(costs(images[:64], scored, replace(choices, steps=2, rounds=1), known))  # To warm up.
    setting = asdict(choices) | {
        "side": SIDE,
        "machine": machine(),
        "anomalib": version("anomalib"),
    }
    for count in sorted(choices.images):
        for cost in costs(images[:count], scored, choices, known):
            known.append(cost)
            print(f"{count:7,} images, {cost.method:10} fit {cost.fit_seconds:8.2f} s, score "
                  f"{cost.score_seconds:7.3f} s per 1,000, {cost.size:11,} bytes"
                  f"{', fit extrapolated' if cost.extrapolated else ''}", flush=True)  # fmt: skip
        told = setting | {"costs": [asdict(cost) for cost in known]}
        choices.out.write_text(json.dumps(told, indent=1, default=str) + "\n")
    print(f"n = {choices.rounds} rounds of scoring and one fit, {torch.get_num_threads()} threads")
    if choices.figure is not None:
        draw(known, choices.figure)


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    main(tyro.cli(Growth, description=__doc__))
