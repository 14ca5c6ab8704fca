"""One-vs-all: one class is normal, all others are anomalous (section 4.1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from anomem.evaluation.metrics import auroc
from anomem_bench.datasets import Parts
from anomem_bench.datasets.parts import Part
from anomem_bench.judging import judge_each_test
from anomem_bench.race import Contender, Judgement
from anomem_bench.results import AnomalyClasses
from anomem_bench.split import Caps, Cell, Exam, Split, anomaly_count

On = Literal["test", "validation"]
Indices = npt.NDArray[np.int64]

_VALIDATION = (0.1, 3000)
"""Share of the training normals, and number of training images of other classes."""


@dataclass(frozen=True)
class OneVsAll:
    """Each class of a data set normal in turn.

    Attributes:
        data: Name of the data set.
        parts: Its images.
        classes: Names of the classes that are normal in turn; none for all.
        gammas: Shares of anomalies in the training set, in [0, 1).
        draws: Random draws of the anomalies; the draw is the seed of the training too.
        anomaly_classes: Draw the anomalies from all other classes, or from one of them.
        on: Measure on the test images, or on a validation split cut from the training images.
        contamination: Share of unlabelled anomalies among the normals, in [0, 1).
        caps: Most images.
        name: Of the protocol.
    """

    data: str
    parts: Parts
    classes: tuple[str, ...] = ()
    gammas: tuple[float, ...] = (0.0,)
    draws: int = 1
    anomaly_classes: AnomalyClasses = "all"
    on: On = "test"
    contamination: float = 0.0
    caps: Caps = Caps()
    name: str = "one-vs-all"

    @property
    def title(self) -> str:
        """The data set, and what was done to it."""
        on = "" if self.on == "test" else f" ({self.on})"
        spoilt = f", {100 * self.contamination:.4g}% of the normals anomalous"
        return self.caps.title(f"{self.data}{on}{spoilt if self.contamination else ''}")

    def cells(self) -> list[Cell]:
        """All training sets, in the order in which they are run.

        Raises:
            ValueError: There is no such class.
        """
        train = trained(self.data, self.parts)
        both = np.intersect1d(train.label, self.parts.test.label)
        known = tuple(train.classes[label] for label in both)
        unknown = [name for name in self.classes if name not in known]
        if unknown:
            raise ValueError(
                f"there is no class {unknown[0]!r} to train and to test on; choose from "
                f"{', '.join(known)}."
            )
        return [
            Cell(normal, gamma, self.anomaly_classes if gamma else "all", draw)
            for draw in range(self.draws)
            for gamma in self.gammas
            for normal in self.classes or known
        ]

    def tests_of(self, cell: Cell) -> list[str]:
        """One test, against all other classes."""
        return [""]

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell.

        The anomalies are drawn from training images alone; a validation split takes normals and
        anomalies from training images that are not trained on.

        Raises:
            ValueError: There are too few images for the shares that are asked for.
        """
        train, test = trained(self.data, self.parts), self.parts.test
        own = train.classes.index(cell.normal)
        rng = np.random.default_rng([cell.draw, own])
        normals = rng.permutation(np.flatnonzero(train.label == own))
        others = np.unique(train.label[train.label != own])
        if cell.anomaly_classes == "one":
            others = rng.choice(others, 1)
        held_out = round(_VALIDATION[0] * len(normals)) if self.on == "validation" else 0
        held, normals = normals[:held_out], normals[held_out:][: self.caps.normals]
        hidden = anomaly_count(self.contamination, len(normals))
        count = anomaly_count(cell.gamma, len(normals) + hidden)
        pool = rng.permutation(np.flatnonzero(np.isin(train.label, others)))
        if count + hidden > len(pool):
            raise ValueError(
                f"gamma {cell.gamma:g} and contamination {self.contamination:g} take "
                f"{count + hidden} anomalies and there are {len(pool)}; lower them."
            )
        anomalies, unlabelled = pool[:count], pool[count : count + hidden]
        if self.on == "test":
            judged = [np.flatnonzero(test.label == own), np.flatnonzero(test.label != own)]
            judged = [self.caps.some(part) for part in judged]
        else:
            rest = np.setdiff1d(np.flatnonzero(train.label != own), pool[: count + hidden])
            test, judged = train, [held, rng.permutation(rest)[: _VALIDATION[1]]]
        return split_by(train, np.concatenate([normals, unlabelled]), anomalies, test, *judged)

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """AUROC of each score."""
        return judge_each_test(contender, exam, lambda normal, odd: {"auroc": auroc(normal, odd)})


def split_by(
    train: Part, normals: Indices, anomalies: Indices, test: Part, good: Indices, odd: Indices
) -> Split:
    """The split of images chosen by their indices."""
    if len(good) == 0 or len(odd) == 0:
        raise ValueError(
            f"the test has {len(good)} normal and {len(odd)} anomalous images; give both kinds."
        )
    return Split(
        train.choose(normals).images,
        train.choose(anomalies).images if len(anomalies) else None,
        test.choose(good).images,
        {"": test.choose(odd).images},
    )


def trained(data: str, parts: Parts) -> Part:
    """The part to train on.

    Raises:
        ValueError: There is none.
    """
    if parts.train is None:
        raise ValueError(f"{data} has test images alone; give its images to train on too.")
    return parts.train
