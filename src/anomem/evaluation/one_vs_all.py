"""One-vs-all: one class is normal, all others are anomalous (section 4.1 of the paper)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.config import Config
from anomem.data.named import NamedImages, load_named
from anomem.data.prepare import prepare
from anomem.data.sources import open_images
from anomem.evaluation.methods import METHODS, check_methods
from anomem.evaluation.metrics import auroc
from anomem.evaluation.race import Contender, Course, Lane, race
from anomem.evaluation.results import Key, Run, append, read
from anomem.fitting import Chosen, image_shape, make_fabric
from anomem.training.batches import ImageSet
from anomem.versions import git_commit, library_versions

AnomalyClasses = Literal["all", "one"]
On = Literal["test", "validation"]

_ON_THE_WAY = 2000
"""Test images that are scored at a mark before the end."""
_VALIDATION = (0.1, 3000)
"""Share of the training normals, and number of training images of other classes."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        data: Name of the data set.
        path: Where it lies.
        classes: Names of the classes that are normal in turn; none for all.
        gammas: Shares of anomalies in the training set, in [0, 1).
        draws: Random draws of the anomalies; the draw is the seed of the training too.
        anomaly_classes: Draw the anomalies from all other classes, or from one of them.
        methods: Names in :data:`METHODS`.
        budget: Wall-clock seconds of a whole fit.
        on: Measure on the test images, or on a validation split cut from the training images.
        contamination: Share of unlabelled anomalies among the normals, in [0, 1).
        device: As of :class:`~anomem.AnoMem`.
    """

    data: str
    path: Path
    classes: tuple[str, ...]
    gammas: tuple[float, ...]
    draws: int
    anomaly_classes: AnomalyClasses
    methods: tuple[str, ...]
    budget: float
    on: On = "test"
    contamination: float = 0.0
    device: str = "auto"

    @property
    def title(self) -> str:
        """The data set, and what was done to it."""
        on = "" if self.on == "test" else f" ({self.on})"
        spoilt = f", {100 * self.contamination:.4g}% of the normals anomalous"
        return f"{self.data}{on}{spoilt if self.contamination else ''}"


@dataclass(frozen=True)
class Cell:
    """One training set: a normal class, a share of anomalies, a draw."""

    normal: str
    gamma: float
    anomaly_classes: AnomalyClasses
    draw: int


@dataclass(frozen=True)
class Split:
    """Images of a cell.

    Attributes:
        normals: To train on, uint8 (N, H, W, 3).
        anomalies: To train on; their share of the training set is gamma.
        test: To measure on.
        test_label: 0 normal, 1 anomalous.
    """

    normals: npt.NDArray[np.uint8]
    anomalies: npt.NDArray[np.uint8]
    test: npt.NDArray[np.uint8]
    test_label: npt.NDArray[np.int64]


def run_plan(plan: Plan, results: Path) -> Iterator[Run]:
    """Run what the results do not hold yet, appending each run to them as it ends.

    Yields:
        Each run.

    Raises:
        ValueError: A name is unknown, or the data cannot be read.
    """
    check_methods(plan.methods)
    train, test = load_named(plan.data, plan.path)
    done = {run.key for run in read(results)} if results.exists() else set()
    for cell in cells(plan, train.classes):
        missing = [name for name in methods_of(plan, cell) if not keys_of(plan, cell, name) <= done]
        if missing:
            split = split_of(cell, train, test, plan.on, plan.contamination)
            for run in run_cell(plan, cell, split, missing):
                append(results, run)
                yield run


def cells(plan: Plan, classes: Sequence[str]) -> list[Cell]:
    """All training sets of a plan, in the order in which they are run.

    Raises:
        ValueError: There is no such class.
    """
    unknown = [name for name in plan.classes if name not in classes]
    if unknown:
        raise ValueError(f"there is no class {unknown[0]!r}; choose from {', '.join(classes)}.")
    return [
        Cell(normal, gamma, plan.anomaly_classes if gamma else "all", draw)
        for draw in range(plan.draws)
        for gamma in plan.gammas
        for normal in plan.classes or classes
    ]


def split_of(
    cell: Cell, train: NamedImages, test: NamedImages, on: On, contamination: float = 0.0
) -> Split:
    """Choose the images of a cell.

    The anomalies are drawn from training images alone; a validation split takes normals and
    anomalies from training images that are not trained on.
    """
    own = train.classes.index(cell.normal)
    rng = np.random.default_rng([cell.draw, own])
    normals = rng.permutation(np.flatnonzero(train.label == own))
    others = np.unique(train.label[train.label != own])
    if cell.anomaly_classes == "one":
        others = rng.choice(others, 1)
    held_out = round(_VALIDATION[0] * len(normals)) if on == "validation" else 0
    normals, held = normals[held_out:], normals[:held_out]
    hidden = round(contamination / (1 - contamination) * len(normals))
    count = round(cell.gamma / (1 - cell.gamma) * (len(normals) + hidden))
    pool = rng.permutation(np.flatnonzero(np.isin(train.label, others)))
    if count + hidden > len(pool):
        raise ValueError(
            f"gamma {cell.gamma:g} and contamination {contamination:g} take {count + hidden} "
            f"anomalies and there are {len(pool)}; lower them."
        )
    anomalies, unlabelled = pool[:count], pool[count : count + hidden]
    normals = np.concatenate([normals, unlabelled])
    if on == "test":
        return Split(
            train.images[normals],
            train.images[anomalies],
            test.images,
            (test.label != own).astype(np.int64),
        )
    rest = np.setdiff1d(np.flatnonzero(train.label != own), pool[: count + hidden])
    judged = np.concatenate([held, rng.permutation(rest)[: _VALIDATION[1]]])
    label = (train.label[judged] != own).astype(np.int64)
    return Split(train.images[normals], train.images[anomalies], train.images[judged], label)


def methods_of(plan: Plan, cell: Cell) -> list[str]:
    """The methods that can be trained on a cell."""
    return [m for m in plan.methods if cell.gamma > 0 or not METHODS[m].needs_anomalies]


def keys_of(plan: Plan, cell: Cell, method: str) -> set[Key]:
    """Keys of the runs that a method gives on a cell."""
    return {key_of(plan, cell, method, score) for score in METHODS[method].scores}


def key_of(plan: Plan, cell: Cell, method: str, score: str) -> Key:
    """What tells a run from all others."""
    return Key(
        protocol="one-vs-all",
        data=plan.title,
        method=score,
        normal=cell.normal,
        gamma=cell.gamma,
        anomaly_classes=cell.anomaly_classes,
        draw=cell.draw,
        budget=plan.budget,
        device=make_fabric(plan.device).device.type,
        config=METHODS[method].digest,
    )


@dataclass(frozen=True)
class Exam:
    """The images of a cell, brought to the size that some methods ask for.

    Attributes:
        course: To train on.
        test: To measure on.
        label: Of each test image, 0 normal, 1 anomalous.
    """

    course: Course
    test: ImageSet
    label: Tensor

    @staticmethod
    def of(split: Split, config: Config, budget: float) -> Exam:
        """Prepare the images of a split."""
        source = open_images(split.normals)
        shape = image_shape(config, source)
        labelled = open_images(split.anomalies) if len(split.anomalies) else None
        return Exam(
            Course(
                prepare(source, shape),
                None if labelled is None else prepare(labelled, shape),
                shape,
                budget,
            ),
            prepare(open_images(split.test), shape),
            torch.from_numpy(split.test_label),
        )

    def judge(self, contender: Contender, share: float) -> dict[str, float]:
        """AUROC of each score, before the end of the budget on some of the test images."""
        chosen = Chosen(self.test, torch.arange(len(self.label)))
        images = chosen if share == 1 else chosen.spread(_ON_THE_WAY)
        truth = self.label[images.indices]
        scores = contender.scores(images)
        return {name: auroc(s[truth == 0], s[truth == 1]) for name, s in scores.items()}


def run_cell(plan: Plan, cell: Cell, split: Split, methods: Sequence[str]) -> Iterator[Run]:
    """Train methods side by side on a cell, and measure them.

    Warns:
        UserWarning: A method failed; the others go on.
    """
    contenders: dict[Contender, str] = {}
    lanes = []
    exams: dict[tuple[int, int] | None, Exam] = {}
    for name in methods:
        config = METHODS[name].config
        size = config.images.size
        exam = exams[size] = exams.get(size) or Exam.of(split, config, plan.budget)
        contender = METHODS[name].new(config, plan.device, cell.draw)
        contenders[contender] = name
        lanes.append(Lane(contender, exam.course, exam.judge))
    for lane in race(lanes):
        method = contenders[lane.contender]
        if lane.failure:
            warnings.warn(f"{method} on {cell.normal} failed: {lane.failure}", stacklevel=2)
            continue
        for score in METHODS[method].scores:
            yield run_of(key_of(plan, cell, method, score), lane, len(split.test_label))


def run_of(key: Key, lane: Lane, test_images: int) -> Run:
    """The line of the results for one score of a finished lane."""
    quarter, half, whole = (lane.marks[share][key.method] for share in (0.25, 0.5, 1.0))
    return Run(
        **key._asdict(),
        seconds=round(lane.seconds, 2),
        steps=lane.steps,
        auroc=whole,
        auroc_half=half,
        auroc_quarter=quarter,
        test_images=test_images,
        threads=torch.get_num_threads(),
        commit=git_commit(),
        versions=library_versions(),
    )
