"""Detectors on real parts and scans: ours, PatchCore, PaDiM and neighbours on one frozen encoder.

    pip install -r benchmarks/requirements.txt
    python benchmarks/parts.py --sets mvtec/bottle cub200:cub10 elpv --out parts.json

A set is a folder in the layout of MVTec AD, or NAME:PATH of a data set of the bench. Where no class
is the normal one, a few are in turn. All methods are given the same frames, in memory and at the
proportions that AnoMem chooses, and the encoder of ``pretrained``. PatchCore and PaDiM are
anomalib's own, on its stages 2 and 3; but the coreset is found in less time, by the same rule.
Neighbours are cosines of pooled features, of stages 3 and 4. Ours is ``AnoMem("pretrained")``,
whose encoder must be the same to the bit.

AUROC is of tested images that no training normal has the pixels of; pixels are measured on the
frames. A fit is timed once, features included and decoding not; a score in turn with a bare pass of
the encoder, as timm has it: with batch norms, which ours folds (for the peers, too).

``--labels 1 3 10 30`` adapts ours (of seed 0) to so many labelled anomalies, and measures all
others; then to those of one kind, and measures all other kinds; with masks too, where there are
some. Beside it stand its scores without labels, and a logistic regression with the same labels on
the features of neighbours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
import tyro

from anomalib_models import Padim, PatchCore, greedy_in_less_time
from anomem import AnoMem
from anomem.config.mapping import changed
from anomem.config.presets import resolve
from anomem.evaluation.localisation import pixel_metrics
from anomem.evaluation.metrics import auroc
from anomem.model.encoder import Encoder
from anomem.runtime.allocator import keep_freed_memory
from anomem.runtime.versions import git_commit, library_versions
from anomem_bench.split import Caps
from few_labels import LabelsResult, with_labels
from frozen import Map, Neighbours, Pixels, Values, batches
from part_sets import PartSet, part_sets
from turns import in_turn, machine, ratio

OURS = "ours"
METHODS = (OURS, "patchcore-10", "patchcore-1", "padim", "neighbours")
_SEEDLESS = ("neighbours",)
_TIMED, _ROUNDS = 32, 3


@dataclass(frozen=True)
class Choices:
    """What is measured.

    Attributes:
        sets: Folders in the layout of MVTec AD, or NAME:PATH of the bench; elpv has no path.
        out: JSON file, written anew after each method: figures, and the score of every image.
        methods: ours, patchcore-P (P: per cent of the places kept), padim, neighbours.
        size: Pixels of a side, as ``images.size``; or height and width.
        seeds: Fits of each method that draws something: of ours, the coreset, PaDiM's channels.
        most_normals: Most training normals.
        most_tested: Most tested images of each kind.
        most_classes: Most classes that are normal in turn.
        labels: Numbers of labelled anomalies.
        draws: Of labelled anomalies.
    """

    sets: tuple[str, ...]
    out: Path
    methods: tuple[str, ...] = METHODS
    size: tuple[int] | tuple[int, int] = (224,)
    seeds: int = 1
    most_normals: int | None = None
    most_tested: int | None = None
    most_classes: int = 3
    labels: tuple[int, ...] = ()
    draws: int = 5


class Method(Protocol):
    """What is compared. Images are (N, H, W, C)."""

    def fit(self, images: Pixels) -> object:
        """Learn normal images."""

    def score(self, images: Pixels) -> Values:
        """Scores (N,), higher being more anomalous."""

    def score_and_map(self, images: Pixels) -> tuple[Values, list[Map] | None]:
        """The same, and where the method can tell where, a map H x W of each image."""

    def size(self) -> int:
        """Bytes that must be kept to score."""


class Ours:
    """AnoMem with the preset for pretrained encoders.

    Args:
        encoder: What its encoder must be.
        size: Height and width of the images.
        seed: Of every draw.
    """

    def __init__(self, encoder: Encoder, size: tuple[int, int], seed: int) -> None:
        config = changed(resolve("pretrained"), {"images__size": size})
        self.model, self._encoder = AnoMem(config, device="cpu", seed=seed), encoder

    def fit(self, images: Pixels) -> None:
        """Learn normal images, and see that the encoder is that of the others."""
        self.model.fit(images)
        own, given = (each.state_dict() for each in (self.model.network_.encoder, self._encoder))
        if not all(torch.equal(own[name], given[name]) for name in own.keys() & given.keys()):
            raise ValueError("the encoder of ours is not that of the others; freeze it.")

    def score(self, images: Pixels) -> Values:
        """Scores (N,)."""
        return self.model.decision_function(images).astype(np.float64)

    def score_and_map(self, images: Pixels) -> tuple[Values, list[Map] | None]:
        """Scores, and heat maps."""
        return self.score(images), list(self.model.heat_maps(images))

    def size(self) -> int:
        """Bytes of the saved folder."""
        with TemporaryDirectory() as folder:
            self.model.save(folder)
            return sum(path.stat().st_size for path in Path(folder).iterdir())


@dataclass(frozen=True)
class Result:
    """A method on a set.

    Attributes:
        method: Its name.
        seed: Of its draws.
        auroc: Of images, against all kinds of anomaly.
        by_kind: The same against each.
        pixels: As of ``pixel_metrics``; empty without masks or maps.
        fit_seconds: Of a fit, features included.
        fit_cpu_seconds: Of all threads; what other work on the machine leaves as it is.
        passes: Time of a score in bare passes of the encoder, with its batch norms: median, lowest
            and highest of rounds.
        size: Bytes that must be kept to score.
        scores: Of all tested images, copies included.
    """

    method: str
    seed: int
    auroc: float
    by_kind: dict[str, float]
    pixels: dict[str, float]
    fit_seconds: float
    fit_cpu_seconds: float
    passes: dict[str, float]
    size: int
    scores: list[float]


def encoder_of(channels: int) -> Encoder:
    """The frozen encoder of ``pretrained``, with stages 3 and 4 as its scales."""
    choices = changed(resolve("pretrained"), {"encoder__scales": (3, 4)}).encoder
    encoder = Encoder(choices, channels).eval()
    encoder.normalise_by(torch.zeros(1, channels, 8, 8))  # by what it was trained with
    return encoder


def new_method(name: str, encoder: Encoder, size: tuple[int, int], seed: int) -> Method:
    """A method by its name, before its fit; its draws begin with the seed."""
    if name not in METHODS and not name.startswith("patchcore-"):
        raise ValueError(f"there is no method {name!r}; choose from {', '.join(METHODS)}.")
    torch.manual_seed(seed)
    np.random.seed(seed)  # anomalib's random projection draws from NumPy's state
    if name == OURS:
        return Ours(encoder, size, seed)
    if name == "neighbours":
        return Neighbours(encoder)
    if name == "padim":
        return Padim(encoder)
    share = float(name.removeprefix("patchcore-")) / 100
    return PatchCore(encoder, share, greedy_in_less_time, finer=True)


def measured(name: str, method: Method, encoder: Encoder, parts: PartSet, seed: int) -> Result:
    """Fit a method to a set, and score what is tested."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    method.fit(parts.normals)
    fit_seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    scores, maps = method.score_and_map(parts.tested)
    normal = scores[~parts.anomalous & ~parts.copy]
    new = {
        kind: scores[(parts.kind == place) & ~parts.copy]
        for place, kind in enumerate(parts.kinds[1:], start=1)
    }
    pixels = {}
    if parts.masks is not None and maps is not None:
        pixels = pixel_metrics(maps, parts.masks)
    return Result(
        method=name,
        seed=seed,
        auroc=auroc(normal, np.concatenate(list(new.values()))),
        by_kind={kind: auroc(normal, found) for kind, found in new.items() if len(found)},
        pixels=pixels,
        fit_seconds=fit_seconds,
        fit_cpu_seconds=cpu,
        passes=passes(method, encoder, parts.tested),
        size=method.size(),
        scores=scores.tolist(),
    )


def passes(method: Method, encoder: Encoder, tested: Pixels) -> dict[str, float]:
    """How many times a bare pass of the encoder a score takes, on some of the images."""
    some = tested[np.linspace(0, len(tested) - 1, _TIMED).round().astype(int)]

    @torch.no_grad()  # where nothing is folded
    def bare() -> None:
        for batch in batches(some):
            encoder(batch)

    calls: dict[str, Callable[[], object]] = {"bare": bare, "score": partial(method.score, some)}
    return ratio(in_turn(calls, rounds=_ROUNDS), "bare", "score")


def results_of(parts: PartSet, choices: Choices) -> Iterator[Result | LabelsResult]:
    """All that is asked for of a set, as it is measured."""
    encoder = encoder_of(parts.channels)
    for seed in range(choices.seeds):
        for name in choices.methods:
            if seed and name in _SEEDLESS:
                continue
            method = new_method(name, encoder, parts.size, seed)
            yield measured(name, method, encoder, parts, seed)
            if isinstance(method, Ours) and choices.labels and not seed:
                yield from with_labels(
                    parts, method.model, Neighbours(encoder), choices.labels, choices.draws
                )


def told(parts: PartSet) -> dict[str, Any]:
    """What a set is, for the JSON file."""
    return {
        "set": parts.name,
        "frames": [*parts.size, parts.channels],
        "normals": len(parts.normals),
        "kinds": parts.kinds,
        "names": parts.names,
        "kind": parts.kind.tolist(),
        "copy": parts.copy.tolist(),
    }


def table(results: list[Result]) -> pd.DataFrame:
    """A row a method: means over the seeds, and how many."""
    rows = [
        {
            "method": each.method,
            "n": 1,
            "AUROC": each.auroc,
            "pixel AUROC": each.pixels.get("pixel_auroc", np.nan),
            "AUPRO": each.pixels.get("aupro", np.nan),
            "fit, s": each.fit_seconds,
            "fit, CPU s": each.fit_cpu_seconds,
            "passes a score": each.passes["ratio"],
            "MB": each.size / 1e6,
        }
        for each in results
    ]
    by_method = pd.DataFrame(rows).groupby("method", sort=False)
    return by_method.mean().assign(n=by_method["n"].sum())


def labels_table(results: list[LabelsResult]) -> pd.DataFrame:
    """A row a number of labels, of any kind or of one: means over draws, and the worst change."""
    rows = pd.DataFrame([asdict(each) for each in results])
    rows["protocol"] = np.where(rows["kind"] == "", "any kind", "hard")
    rows["worst"] = rows["adapted"] - rows["one_class"]
    by_count = rows.groupby(["protocol", "labels"])
    means = by_count[["one_class", "adapted", "masked", "logistic"]].mean()
    return means.assign(worst=by_count["worst"].min(), n=by_count.size())


def main(choices: Choices) -> None:
    """Measure, print and write."""
    size = choices.size[0] if len(choices.size) == 1 else choices.size
    caps = Caps(choices.most_normals, choices.most_tested)
    versions = library_versions()
    if find_spec("anomalib"):
        versions["anomalib"] = version("anomalib")
    setting = asdict(choices) | {
        "out": choices.out.name,
        "machine": machine(),
        "commit": git_commit(),
        "versions": versions,
    }
    sets: list[dict[str, Any]] = []
    for data in choices.sets:
        for parts in part_sets(data, size, caps, choices.most_classes):
            found: list[Result | LabelsResult] = []
            sets.append(told(parts))
            for result in results_of(parts, choices):
                found.append(result)
                sets[-1]["methods"] = [asdict(r) for r in found if isinstance(r, Result)]
                sets[-1]["labels"] = [asdict(r) for r in found if isinstance(r, LabelsResult)]
                text = json.dumps(setting | {"sets": sets}, indent=1, default=str)
                choices.out.write_text(text + "\n")
            show(parts, found)


def show(parts: PartSet, found: list[Result | LabelsResult]) -> None:
    """Print what was measured on a set."""
    good = int((~parts.anomalous).sum())
    print(f"\n{parts.name}: {len(parts.normals)} normals; tested {good} and "
          f"{len(parts.names) - good} anomalies, less {int(parts.copy.sum())} copies of training "
          f"normals; frames {parts.size[0]} x {parts.size[1]}, {torch.get_num_threads()} threads; "
          "n: seeds")  # fmt: skip
    results = [each for each in found if isinstance(each, Result)]
    print(table(results).to_string(float_format="{:.3f}".format), flush=True)
    if labels := [each for each in found if isinstance(each, LabelsResult)]:
        print("AUROC of ours without labels and with them; n: draws (and kinds)")
        print(labels_table(labels).to_string(float_format="{:.3f}".format), flush=True)


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    main(tyro.cli(Choices, description=__doc__))
