"""What protocols share in which all classes of a data set are normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomem_bench.datasets import Part, Parts
from anomem_bench.protocols.one_vs_all import trained
from anomem_bench.split import Caps, Cell


@dataclass(frozen=True)
class AllNormal:
    """One training set a draw, of all classes; the test images are the same in every draw.

    Attributes:
        data: Name of the data set.
        parts: Its images.
        draws: Seeds of the training.
        caps: Most images; of all classes together to test on.
    """

    data: str
    parts: Parts
    draws: int = 1
    caps: Caps = Caps()

    @property
    def title(self) -> str:
        """The data set, and what was done to it."""
        return self.caps.title(self.data)

    def cells(self) -> list[Cell]:
        """One training set a draw."""
        return [Cell("all", 0.0, "all", draw) for draw in range(self.draws)]

    def trained_on(self, cell: Cell) -> Part:
        """The training images of a cell, in the order of its draw."""
        train = trained(self.data, self.parts)
        order = np.random.default_rng(cell.draw).permutation(len(train))
        return train.choose(order[: self.caps.normals])

    def tested_on(self) -> Part:
        """The test images."""
        test = self.parts.test
        return test.choose(self.caps.some(np.arange(len(test))))
