"""Drift: how often a change is told where there is none, and how soon where there is one.

    python benchmarks/drift.py promise [--runs 1000] [--out promise.json]
    python benchmarks/drift.py folder GOOD [--anomalies DIR] [--runs 100] [--out folder.json]

``promise`` draws 10,000 normals and 19, 99 or 500 held-out ones from one distribution, by their
ranks. ``folder`` fits the preset ``pretrained`` on half of a folder of normal images, at most
100; as many of the other half, altered by steps or not, are the line: 1,000 of its images, drawn
with replacement, come before an alteration and 1,000 altered ones after; or 10,000 come unaltered.
With anomalies the detector is adapted to ten of them, and to ten normals of neither half, first;
then nothing is altered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import tyro
from PIL import Image, ImageFilter

from anomem import AnoMem
from anomem.decision.calibrate import Calibration
from anomem.evaluation.drift import ALPHA, Change, bet, first_change, payments, reserve
from turns import machine, show

Floats = npt.NDArray[np.float64]
_IMAGES = 10_000
_BEFORE, _AFTER = 1_000, 1_000
_MOST = 100
_LABELS = 10
"""Anomalies, and as many normals."""


@dataclass(frozen=True)
class Promise:
    """False alarms among normals that are as the held-out ones."""

    runs: int = 1000
    """For each number of held-out normals."""
    out: Path | None = None


@dataclass(frozen=True)
class Folder:
    """False alarms and delays on real images."""

    good: Annotated[Path, tyro.conf.Positional]
    """Folder of normal images."""
    anomalies: Path | None = None
    """Folder of anomalies to adapt to."""
    runs: int = 100
    """Of each kind of line."""
    out: Path | None = None


def alarms(held_out: int, runs: int) -> float:
    """The share of runs that tell a change among 10,000 normals."""
    rng, capital = np.random.default_rng(0), np.zeros(())
    most = np.zeros(runs)
    for seen in range(_IMAGES):
        size = held_out + seen + 1
        rank = rng.integers(size, size=runs)
        capital = bet(capital, seen, payments(rank / size, (rank + 1) / size))
        most = np.maximum(most, reserve(seen + 1) + capital.sum(axis=1))
    return float((most >= 1 / ALPHA).mean())


def brighter(by: float) -> Callable[[Image.Image], Image.Image]:
    """Every pixel so many times as bright."""
    return lambda image: image.point(lambda value: min(255, round(value * by)))


def blurred(by: float) -> Callable[[Image.Image], Image.Image]:
    """Out of focus: a Gaussian of so many pixels of an image whose shorter side has 256."""
    return lambda image: image.filter(ImageFilter.GaussianBlur(by * min(image.size) / 256))


ALTERED = {
    **{f"brightness x {by}": brighter(by) for by in (0.8, 0.9, 1.1, 1.25)},
    **{f"blur {by} px": blurred(by) for by in (0.5, 1, 2)},
}


def told(held_out: Floats, line: Floats) -> Change | None:
    """The first change of a line, by a detector whose normals are held out in turn."""
    scores = {str(number): score for number, score in enumerate(line)}
    return first_change(replace(Calibration.of(held_out), in_turn=True), scores)


def folder(arguments: Folder) -> dict[str, Any]:
    """Fit on one half, and watch the other."""
    files = sorted(arguments.good.iterdir())
    rng = np.random.default_rng(0)
    order = rng.permutation(len(files))
    labelled, order = np.split(order, [_LABELS if arguments.anomalies else 0])
    halves = np.array_split(order, 2)
    learnt, watched = ([files[i] for i in half[:_MOST]] for half in halves)
    model = AnoMem("pretrained", device="cpu").fit(learnt)
    if arguments.anomalies:
        odd = rng.choice(sorted(arguments.anomalies.iterdir()), _LABELS, replace=False)
        normals = [files[i] for i in labelled]
        model.adapt([*normals, *odd], [0] * len(normals) + [1] * len(odd))
    held_out = model.calibration().scores

    def scores(alter: Callable[[Image.Image], Image.Image] | None) -> Floats:
        images: Sequence[Any] = [Image.open(file) for file in watched]
        altered = images if alter is None else [alter(image) for image in images]
        return model.decision_function(altered).astype(np.float64)

    normal = scores(None)
    runs = range(arguments.runs)
    orders = [told(held_out, rng.permutation(normal)) for _ in runs]
    lives = [told(held_out, rng.choice(normal, _IMAGES)) for _ in runs]
    pool = np.concatenate([held_out, normal])
    alike = [told(rng.choice(pool, len(held_out)), rng.choice(pool, _IMAGES)) for _ in runs]
    table: dict[str, Any] = {
        "learnt": len(learnt),
        "held_out": len(held_out),
        "watched": len(watched),
        "standard_deviations_lower": float((held_out.mean() - normal.mean()) / held_out.std()),
        "alarms": {
            "each image once": sum(map(bool, orders)),
            "10,000 of the images": sum(map(bool, lives)),
            "10,000 and the held-out ones of all": sum(map(bool, alike)),
        },
    }
    for name, alter in ({} if arguments.anomalies else ALTERED).items():
        after = scores(alter)
        found = []
        for _ in runs:
            line = np.concatenate([rng.choice(normal, _BEFORE), rng.choice(after, _AFTER)])
            found.append(told(held_out, line))
        told_after = [change for change in found if change and change.seen > _BEFORE]
        delays = sorted(change.seen - _BEFORE for change in told_after)
        table[name] = {
            "shift": float((after.mean() - normal.mean()) / normal.std()),
            "told": len(delays),
            "delay": None if not delays else float(np.median(delays)),
            "delay_90": None if not delays else float(np.quantile(delays, 0.9)),
            "causes": Counter(change.cause for change in told_after),
        }
    return table


def main(
    arguments: Annotated[Promise, tyro.conf.subcommand("promise")]
    | Annotated[Folder, tyro.conf.subcommand("folder")],
) -> None:
    """Measure what is asked for."""
    if isinstance(arguments, Promise):
        table: dict[str, Any] = {str(n): alarms(n, arguments.runs) for n in (19, 99, 500)}
    else:
        table = folder(arguments)
    show({"machine": machine(), "runs": arguments.runs, **table}, arguments.out)


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
