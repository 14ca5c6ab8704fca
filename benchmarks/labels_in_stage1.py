"""Whether few labelled anomalies had better teach the network too, or stage 2 alone.

    python benchmarks/labels_in_stage1.py --data cifar10:DIR mvtec_ad:DIR ... --out labels.jsonl

Each network trains for the same processor seconds of one thread: one without labels, whose stage 2
then learns from each number of them, and one with each number. Where a set has kinds of anomaly,
the labels are of all kinds, or with ``--one-kind`` of one kind, tested against all others; CIFAR-10
is measured on validation images.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from anomem.config.presets import resolve
from anomem.evaluation.metrics import auroc
from anomem.images.image_set import Chosen
from anomem.runtime.allocator import keep_freed_memory
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.datasets import Parts, called_of, load_named
from anomem_bench.datasets.parts import NORMAL
from anomem_bench.ours import Ours
from anomem_bench.protocols.few_labels import FewLabels
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.split import Caps, Cell, Split
from draws import Results


@dataclass(frozen=True)
class Trials:
    """Which networks to train.

    Attributes:
        data: NAME:PATH or NAME of data sets of the bench.
        out: Lines of JSON, one a detector.
        classes: That are normal in turn, of a set without a normal class.
        seconds: Of a processor, of each training.
        labels: Numbers of labelled anomalies.
        one_kind: Labels are of one kind, each in turn, and tested against all others; not by
            default.
        seeds: Of the detector and of the draw.
    """

    data: tuple[str, ...]
    out: Path = Path("labels.jsonl")
    classes: tuple[str, ...] = ("airplane", "cat", "horse")
    seconds: float = 45
    labels: tuple[int, ...] = (10, 30, 60)
    one_kind: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)


def main(trials: Trials) -> None:
    """Measure all detectors that are not yet in the results."""
    keep_freed_memory()
    torch.set_num_threads(1)
    results = Results(trials.out)
    alone: dict[str, Ours] = {}
    for seed, place in itertools.product(trials.seeds, trials.data):
        name, _, path = place.partition(":")
        parts = load_named(name, Path(path) if path else None)
        called = called_of(name, Path(path) if path else None)
        of = _of_kinds if parts.test.classes[0] in NORMAL else _of_classes
        for named, split in of(called, parts, trials, seed):
            key = {"set": called, **named, "seed": seed, "seconds": trials.seconds}
            measure(split, trials, key, results, alone)


def _of_classes(
    called: str, parts: Parts, trials: Trials, seed: int
) -> Iterator[tuple[dict[str, str], Split]]:
    """A draw of each class that is normal in turn, with labels of all other classes."""
    for normal in trials.classes:
        gamma = max(trials.labels) / (max(trials.labels) + 1000)
        protocol = OneVsAll(called, parts, gammas=(gamma,), caps=Caps(1000), on="validation")
        yield {"kind": normal}, protocol.split(Cell(normal, gamma, "all", seed))


def _of_kinds(
    called: str, parts: Parts, trials: Trials, seed: int
) -> Iterator[tuple[dict[str, str], Split]]:
    """A draw of a set with kinds of anomaly: labels of all of them, or of each alone."""
    protocol = FewLabels(called, parts, labels=(max(trials.labels),), caps=Caps(300))
    for cell in protocol.cells():
        if (cell.anomaly_classes == "hard") == trials.one_kind:
            yield {"kind": cell.labelled}, protocol.split(replace(cell, draw=seed))


def measure(
    split: Split, trials: Trials, key: dict[str, Any], results: Results, alone: dict[str, Ours]
) -> None:
    """Train the networks of a draw, and add the AUROC of each detector on all that is tested.

    Args:
        split: The images of the draw.
        trials: What is measured.
        key: What the draw is called in the results.
        results: The lines.
        alone: The last network that no label taught, by the names of its normals.
    """
    detectors = [(0, False), *itertools.product(trials.labels, (False, True))]
    for labels, learnt in detectors:
        if results.of(**key, labels=labels, learnt=learnt):
            continue
        images = TrainingSet.of(split.normals, split.anomalies, resolve("scratch"))
        assert images.anomalies is not None
        first = Chosen(images.anomalies, torch.arange(labels))
        if learnt:
            contender = trained(replace(images, anomalies=first), key)
        else:
            # A network that no label teaches is the same with any of them.
            normals = str(split.normals.names)
            if normals not in alone:
                alone.clear()
                alone[normals] = trained(replace(images, anomalies=None), key)
            contender = copy.copy(alone[normals])
            contender.images = replace(contender.images, anomalies=first)
        contender.finish()
        good, *odd = (
            contender.decision_function(images)
            for images in (split.test_normals, *split.test_anomalies.values())
        )
        value = round(auroc(good, np.concatenate(odd)), 5)
        results.add({**key, "labels": labels, "learnt": learnt, "auroc": value})


def trained(images: TrainingSet, key: dict[str, Any]) -> Ours:
    """Train a network, and what labels there are teach it."""
    contender = Ours(device="cpu", seed=key["seed"])
    clock = Clock(key["seconds"], now=time.process_time)
    for _ in contender.begin(images, clock):
        pass
    return contender


if __name__ == "__main__":
    main(tyro.cli(Trials))
