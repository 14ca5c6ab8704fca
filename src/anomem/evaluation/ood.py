"""Out of distribution: a whole data set is normal, each of some others is anomalous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomem.data.joined import choose
from anomem.data.named import Parts
from anomem.data.reencoded import ReencodedSource, jpeg_of
from anomem.data.shape import infer_shape
from anomem.data.sources import ImageSource
from anomem.evaluation.judging import judge_each_test
from anomem.evaluation.metrics import ood_metrics
from anomem.evaluation.one_vs_all import trained
from anomem.evaluation.race import Contender, Judgement
from anomem.evaluation.split import Caps, Cell, Exam, Split

RE_ENCODED = "re-encoded"
_LONGEST = 2**16
"""Bound on the side of a re-encoded image: none, so that size does not give it away either."""


@dataclass(frozen=True)
class Ood:
    """All classes of a data set normal, the images of others anomalous.

    Where the images in distribution are JPEG files, each other set is tested twice: as it is, and
    brought to their size and encoded with their tables, so that the format of its files does not
    give it away.

    Attributes:
        data: Name of the data set.
        parts: Its images.
        others: Test images of other data sets, by name.
        draws: Seeds of the training.
        caps: Most images.
        name: Of the protocol.
    """

    data: str
    parts: Parts
    others: Mapping[str, ImageSource]
    draws: int = 1
    caps: Caps = Caps()
    name: str = "ood"

    @property
    def title(self) -> str:
        """The data set, and what was done to it."""
        return self.caps.title(self.data)

    def cells(self) -> list[Cell]:
        """One training set a draw."""
        return [Cell("all", 0.0, "all", draw) for draw in range(self.draws)]

    def tests_of(self, cell: Cell) -> list[str]:
        """Each other set, and again re-encoded."""
        jpeg = jpeg_of(self.parts.test.images)
        again = [f"{name}, {RE_ENCODED}" for name in self.others] if jpeg else []
        return [*self.others, *again]

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell; all draws have the same test images."""
        train, test = trained(self.data, self.parts), self.parts.test
        order = np.random.default_rng(cell.draw).permutation(len(train))
        tests = {name: choose(each, self._some(len(each))) for name, each in self.others.items()}
        if jpeg := jpeg_of(test.images):
            shape = infer_shape(test.images, longest=_LONGEST)
            for name, images in list(tests.items()):
                tests[f"{name}, {RE_ENCODED}"] = ReencodedSource(images, jpeg, shape)
        return Split(
            train.choose(order[: self.caps.normals]).images,
            None,
            test.choose(self._some(len(test))).images,
            tests,
        )

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """AUROC, AUPR both ways, and FPR at 95% TPR, of each score."""
        return judge_each_test(contender, exam, ood_metrics)

    def _some(self, count: int) -> npt.NDArray[np.int64]:
        return self.caps.some(np.arange(count))
