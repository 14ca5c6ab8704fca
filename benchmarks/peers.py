"""Tuning of the peers: AUROC on validation images for a few learning rates and batches of each.

    python benchmarks/peers.py --path DIR --normal horse --seconds 60 --out DIR

The peers take batch, learning rate and views from the detector; this asks whether they would do
better with their own. The trials of a peer are trained side by side, on training images alone, and
measured on others that are cut from them; each is appended to the results as it ends, so that a
killed benchmark goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from anomem.config.mapping import changed
from anomem_bench.contender import Contender
from anomem_bench.datasets import load_named
from anomem_bench.exam import Exam
from anomem_bench.methods import METHODS
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.race import Lane, race
from anomem_bench.split import Cell
from draws import Results

GAMMA = {"mhrot": 0.0, "csi": 0.0, "simclr": 0.0, "supervised": 0.05, "deepsad": 0.05, "elsa": 0.05}
"""Share of labelled anomalies that each peer is tuned at."""
Trial = dict[str, float]
TRIALS: tuple[Trial, ...] = (
    {},
    {"learning_rate": 0.03},
    {"learning_rate": 0.3},
    {"batch": 64},
    {"batch": 128},
)
"""Choices of stage 1 that differ from those of ``scratch``."""


@dataclass(frozen=True)
class Trials:
    """What is tried.

    Attributes:
        path: Where CIFAR-10 lies.
        out: Folder of the results.
        normal: Name of the normal class.
        seconds: Wall-clock seconds of a fit.
        peers: Names of the peers, separated by commas.
    """

    path: Path
    out: Path
    normal: str = "horse"
    seconds: float = 60.0
    peers: str = ",".join(GAMMA)


def main(choices: Trials) -> None:
    """Run what the results do not hold yet."""
    results = Results(choices.out / f"peers-{choices.normal}-{choices.seconds:g}s.jsonl")
    protocol = OneVsAll("cifar10", load_named("cifar10", choices.path), on="validation")
    for peer in choices.peers.split(","):
        over = [line["trial"] for line in results.of(peer=peer)]
        missing = [trial for trial in TRIALS if trial not in over]
        split = protocol.split(Cell(choices.normal, GAMMA[peer], "all", 0))
        exam = Exam.of(split, METHODS[peer].config)
        for line in tried(peer, missing, exam, protocol, choices.seconds):
            results.add(line)


def tried(
    peer: str, trials: Sequence[Trial], exam: Exam, protocol: OneVsAll, seconds: float
) -> Iterator[dict[str, Any]]:
    """The result of each trial of a peer, as it ends."""
    method = METHODS[peer]
    contenders: dict[Contender, Trial] = {}
    for trial in trials:
        config = changed(method.config, {f"stage1__{name}": v for name, v in trial.items()})
        contenders[replace(method, config=config).new()] = trial
    lanes = [
        Lane(contender, exam.trained, seconds, lambda contender, _: protocol.judge(contender, exam))
        for contender in contenders
    ]
    for lane in race(lanes):
        line = {"peer": peer, "trial": contenders[lane.contender], "steps": lane.steps}
        if lane.failure:
            yield line | {"failure": lane.failure}
        else:
            scores = lane.marks[1.0]
            yield line | {score: tests[""].measures["auroc"] for score, tests in scores.items()}


if __name__ == "__main__":
    main(tyro.cli(Trials))
