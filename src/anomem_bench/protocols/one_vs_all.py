"""One-vs-all: one class is normal, all others are anomalous (section 4.1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from anomem_bench.protocols.protocol import BenchProtocol
from anomem_bench.results import AnomalyClasses
from anomem_bench.split import Cell, Split, anomaly_count

On = Literal["test", "validation"]

_VALIDATION = (0.1, 3000)
"""Share of the training normals, and number of training images of other classes."""


@dataclass(frozen=True)
class OneVsAll(BenchProtocol):
    """Takes each class of a data set as normal in turn.

    Attributes:
        classes: Names of the classes that are normal in turn; none for all.
        gammas: Shares of anomalies in the training set, in [0, 1).
        anomaly_classes: Draw the anomalies from all other classes, or from one of them.
        on: Measure on the test images, or on a validation split cut from the training images.
        contamination: Share of unlabelled anomalies among the normals, in [0, 1).
    """

    classes: tuple[str, ...] = ()
    gammas: tuple[float, ...] = (0.0,)
    anomaly_classes: AnomalyClasses = "all"
    on: On = "test"
    contamination: float = 0.0
    name: str = "one-vs-all"

    @property
    def title(self) -> str:
        """Name the data set, and what was done to it."""
        on = "" if self.on == "test" else f" ({self.on})"
        spoilt = f", {100 * self.contamination:.4g}% of the normals anomalous"
        return self.caps.title(f"{self.data}{on}{spoilt if self.contamination else ''}")

    def cells(self) -> list[Cell]:
        """List all training sets, in the order in which they are run.

        Raises:
            ValueError: There is no such class.
        """
        train = self.train
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

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell.

        The anomalies are drawn from training images alone; a validation split takes normals and
        anomalies from training images that are not trained on.

        Raises:
            ValueError: There are too few images for the shares that are asked for.
        """
        train, test = self.train, self.parts.test
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
        good, odd = judged
        if len(good) == 0 or len(odd) == 0:
            raise ValueError(
                f"the test has {len(good)} normal and {len(odd)} anomalous images; give both kinds."
            )
        return Split(
            train.choose(np.concatenate([normals, unlabelled])).images,
            train.choose(anomalies).images if count else None,
            test.choose(good).images,
            {"": test.choose(odd).images},
        )
