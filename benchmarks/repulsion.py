"""What the repulsion of anomalies and the memory are each worth from scratch, on photographs.

    python benchmarks/repulsion.py --data mvtec_ad:DIR ... --out repulsion.jsonl

Each network trains for the same processor seconds of one thread, with a memory or without; it is
then read with what may stand in the memory's place, and with and without the training images that
the detector remembers whole.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from anomem.config.mapping import changed
from anomem.config.presets import resolve
from anomem.evaluation.metrics import auroc
from anomem.images.open import open_images
from anomem.runtime.allocator import keep_freed_memory
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.ours import Memory, Ours
from anomem_bench.split import Caps
from draws import Results
from part_sets import PartSet, part_sets

_TRAINED: dict[Memory, tuple[Memory, ...]] = {"learnt": ("learnt",), "mean": ("mean", "kmeans")}
"""By the memory of a training: those that its network is read with."""


def measure(
    parts: PartSet, seconds: float, *, weight: float, memory: Memory, seed: int
) -> dict[str, Any]:
    """Train one network, and give the AUROC of each way to read it.

    Args:
        parts: Normals to train on, and tested images.
        seconds: Of a processor that stage 1 takes.
        weight: ``loss.repulsion``.
        memory: "learnt", or "mean" for a training without.
        seed: Of the detector.
    """
    choices = {"images__size": parts.size, "loss__repulsion": weight}
    scratch = changed(resolve("scratch"), choices)
    images = TrainingSet.of(open_images(parts.normals), None, scratch)
    contender = Ours(scratch, device="cpu", seed=seed, memory=memory)
    walk = contender.begin(images, Clock(seconds, now=time.process_time))
    steps = sum(1 for _ in walk)
    tested = ~parts.copy
    line: dict[str, Any] = {}
    for read in _TRAINED[memory]:
        for remembered in (False, True):
            neighbours = scratch.score.neighbours if remembered else 0
            contender.memory = read
            contender.config = changed(scratch, {"score__neighbours": neighbours})
            contender.finish()
            score = contender.decision_function(parts.tested[tested])
            odd = parts.anomalous[tested]
            name = f"{read}, remembered" if remembered else read
            line[name] = auroc(score[~odd], score[odd])
    return {"steps": steps, **line}


@dataclass(frozen=True)
class Trials:
    """Which networks to train.

    Attributes:
        data: NAME:PATH or NAME of data sets of the bench.
        out: Lines of JSON, one a training.
        size: Pixels of a side, more or less.
        seconds: Of a processor, of each training.
        most_normals: That are trained on.
        weights: Of the repulsion.
        memories: What networks train with: "learnt", or "mean" for none.
        seeds: Of the detector.
    """

    data: tuple[str, ...]
    out: Path = Path("repulsion.jsonl")
    size: int = 64
    seconds: float = 60
    most_normals: int = 300
    weights: tuple[float, ...] = (0, 1)
    memories: tuple[Memory, ...] = ("learnt", "mean")
    seeds: tuple[int, ...] = (0, 1, 2)


def main(trials: Trials) -> None:
    """Measure all trainings that are not yet in the results."""
    keep_freed_memory()
    results, caps = Results(trials.out), Caps(trials.most_normals, 100)
    sets = (next(part_sets(place, trials.size, caps, 1)) for place in trials.data)
    each = itertools.product(sets, trials.seeds, trials.weights, trials.memories)
    for parts, seed, weight, memory in each:
        key = {"set": parts.name, "weight": weight, "memory": memory, "seed": seed}
        key |= {"size": trials.size, "normals": len(parts.normals), "seconds": trials.seconds}
        if not results.of(**key):
            line = measure(parts, trials.seconds, weight=weight, memory=memory, seed=seed)
            results.add({**key, **line})


if __name__ == "__main__":
    main(tyro.cli(Trials))
