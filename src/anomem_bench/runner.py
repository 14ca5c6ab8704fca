"""The runner of all protocols: methods side by side on each cell, every run kept as it ends."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from anomem.runtime.device import make_fabric
from anomem.runtime.versions import git_commit, library_versions
from anomem_bench.contender import Contender
from anomem_bench.exam import Exam, Judgement
from anomem_bench.methods import Method
from anomem_bench.protocols.protocol import BenchProtocol
from anomem_bench.race import MARKS, Lane, race
from anomem_bench.results import ClockName, Key, Run, append, read
from anomem_bench.split import Cell, Split

_ON_THE_WAY = 2000
"""Test images that are measured on at a mark before the end."""
_FOLLOWED = ("auroc", "accuracy")
"""Measures that are kept of these marks too."""
_NOW = {"wall": time.monotonic, "processor": time.process_time}


@dataclass(frozen=True)
class Entry:
    """Says who takes part, and on what terms.

    Attributes:
        methods: By name.
        budget: Seconds of a whole fit.
        device: As of :class:`~anomem.AnoMem`.
        shard: Part and number of parts of the cells, counted from 1.
        clock: Whose seconds are counted.
    """

    methods: Mapping[str, Method]
    budget: float
    device: str = "auto"
    shard: tuple[int, int] = (1, 1)
    clock: ClockName = "wall"


def run_protocol(protocol: BenchProtocol, entry: Entry, results: Path) -> Iterator[Run]:
    """Run what the results do not hold yet, appending each run to them as it ends.

    Yields:
        Each run.

    Warns:
        UserWarning: A training set cannot be made, or a method failed; the others go on.

    Raises:
        ValueError: An image cannot be read.
    """
    done = {run.key for run in read(results)} if results.exists() else set()
    part, parts = entry.shard
    for cell in protocol.cells()[part - 1 :: parts]:
        missing = [
            name
            for name in methods_of(entry, cell)
            if not set(keys_of(protocol, entry, cell, name)) <= done
        ]
        if not missing:
            continue
        try:
            split = protocol.split(cell)
        except ValueError as error:
            warnings.warn(f"{_name(cell)} is left out: {error}", stacklevel=2)
            continue
        for run in _run_cell(protocol, entry, cell, split, missing):
            append(results, run)
            yield run


def methods_of(entry: Entry, cell: Cell) -> list[str]:
    """List the methods to train on a cell: those that can be, with counted labels that use them."""
    methods = entry.methods.items()
    if cell.labels:
        return [name for name, m in methods if m.uses_anomalies]
    return [name for name, m in methods if cell.gamma > 0 or not m.needs_anomalies]


def keys_of(protocol: BenchProtocol, entry: Entry, cell: Cell, method: str) -> list[Key]:
    """List the keys of the runs that a method gives on a cell."""
    return [
        Key(
            protocol=protocol.name,
            data=protocol.title,
            method=score,
            normal=cell.normal,
            against=test,
            gamma=cell.gamma,
            anomaly_classes=cell.anomaly_classes,
            draw=cell.draw,
            budget=entry.budget,
            device=make_fabric(entry.device).device.type,
            config=entry.methods[method].digest,
            labels=cell.labels,
            clock=entry.clock,
        )
        for score in entry.methods[method].scores
        for test in protocol.tests_of(cell)
    ]


def _run_cell(
    protocol: BenchProtocol, entry: Entry, cell: Cell, split: Split, methods: Sequence[str]
) -> Iterator[Run]:
    """Train methods side by side on a cell, and measure them."""
    contenders: dict[Contender, str] = {}
    lanes = []
    exams: dict[int | tuple[int, int] | None, Exam] = {}
    for name in methods:
        method = entry.methods[name]
        size = method.config.images.size
        exam = exams[size] = exams.get(size) or Exam.of(split, method.config)
        contender = method.new(entry.device, cell.draw)
        contenders[contender] = name
        judge = _judge(protocol, exam)
        lanes.append(Lane(contender, exam.trained, entry.budget, judge, _NOW[entry.clock]))
    for lane in race(lanes):
        name = contenders[lane.contender]
        if lane.failure:
            warnings.warn(f"{name} on {_name(cell)} failed: {lane.failure}", stacklevel=2)
            continue
        for key in keys_of(protocol, entry, cell, name):
            yield _run(key, lane)


def _name(cell: Cell) -> str:
    unseen = f" without {cell.unseen}" if cell.unseen else ""
    if cell.labels:
        unseen += f", {cell.labels} labelled" + (f" of {cell.labelled}" if cell.labelled else "")
    return f"{cell.normal}{unseen}, gamma {cell.gamma:g}, draw {cell.draw}"


def _judge(protocol: BenchProtocol, exam: Exam) -> Callable[[Contender, float], Judgement]:
    def judge(contender: Contender, share: float) -> Judgement:
        return protocol.judge(contender, exam if share == 1 else exam.thinned(_ON_THE_WAY))

    return judge


def _run(key: Key, lane: Lane) -> Run:
    """The line of the results for one test of one score of a finished lane."""
    quarter, half, whole = (lane.marks[share][key.method][key.against] for share in (*MARKS, 1.0))
    measures = dict(whole.measures)
    for share, early in (("quarter", quarter), ("half", half)):
        followed = {k: v for k, v in early.measures.items() if k in _FOLLOWED}
        measures |= {f"{name}_{share}": value for name, value in followed.items()}
    return Run(
        **asdict(key),
        seconds=round(lane.seconds, 2),
        steps=lane.steps,
        measures=measures,
        test_images=whole.images,
        threads=torch.get_num_threads(),
        commit=git_commit(),
        versions=library_versions(),
    )
