"""What all protocols share: which images are trained and tested on, and what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomem.evaluation.metrics import auroc
from anomem_bench.contender import Contender
from anomem_bench.datasets.parts import Part, Parts
from anomem_bench.exam import Exam, Judgement, judge_each_test
from anomem_bench.split import Caps, Cell, Split

_ALL = Caps()


@dataclass(frozen=True)
class BenchProtocol(ABC):
    """Says what is trained on, and what is measured.

    Attributes:
        data: Name of the data set.
        parts: Its images.
        draws: Number of random draws; a draw is the seed of the training too.
        caps: Most images.
        name: Of the protocol, such as "one-vs-all".
    """

    data: str
    parts: Parts
    draws: int = 1
    caps: Caps = _ALL
    name: str = ""

    @property
    def title(self) -> str:
        """Name the data set, and what was done to it."""
        return self.caps.title(self.data)

    @property
    def details(self) -> dict[str, Any]:
        """Say what the manifest of a call keeps of it beside its title."""
        return {}

    @property
    def train(self) -> Part:
        """Give the part to train on.

        Raises:
            ValueError: There is none.
        """
        if self.parts.train is None:
            raise ValueError(f"{self.data} has test images alone; give its images to train on too.")
        return self.parts.train

    @abstractmethod
    def cells(self) -> list[Cell]:
        """List all training sets, in the order in which they are run."""

    def tests_of(self, cell: Cell) -> list[str]:  # noqa: ARG002 - of most, each has the same test
        """Name the anomalies of each test of a cell; "" for all other classes."""
        return [""]

    @abstractmethod
    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell.

        Raises:
            ValueError: There are too few images for what is asked.
        """

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """Measure by score of the contender, by test and by name: here the AUROC."""
        return judge_each_test(contender, exam, lambda normal, odd: {"auroc": auroc(normal, odd)})


@dataclass(frozen=True)
class AllNormal(BenchProtocol):
    """Takes one training set a draw, of all classes; every draw has the same test images.

    Of all classes together as many are tested on as the caps say.
    """

    def cells(self) -> list[Cell]:
        """List one training set a draw."""
        return [Cell("all", 0.0, "all", draw) for draw in range(self.draws)]

    def trained_on(self, cell: Cell) -> Part:
        """Give the training images of a cell, in the order of its draw."""
        order = np.random.default_rng(cell.draw).permutation(len(self.train))
        return self.train.choose(order[: self.caps.normals])

    def tested_on(self) -> Part:
        """Give the test images."""
        test = self.parts.test
        return test.choose(self.caps.some(np.arange(len(test))))
