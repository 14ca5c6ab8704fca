"""Out of distribution: a whole data set is normal, each of some others is anomalous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from anomem.images.combined import choose
from anomem.images.frame_shape import square_shape, typical_image
from anomem.images.source import ImageSource
from anomem_bench.contender import Contender
from anomem_bench.exam import Exam, Judgement, judge_each_test
from anomem_bench.metrics import ood_metrics
from anomem_bench.protocols.protocol import AllNormal
from anomem_bench.protocols.reencoded import ReencodedSource, jpeg_of
from anomem_bench.split import Cell, Split

RE_ENCODED = "re-encoded"
_LONGEST = 2**16
"""Bound on the side of a re-encoded image: none, so that size does not give it away either."""


@dataclass(frozen=True)
class Ood(AllNormal):
    """Takes all classes of a data set as normal, the images of others as anomalous.

    Where the images in distribution are JPEG files, each other set is tested twice: as it is, and
    brought to their size and encoded with their tables, so that the format of its files does not
    give it away.

    Attributes:
        others: Test images of other data sets, by name.
    """

    others: Mapping[str, ImageSource] = field(kw_only=True)
    name: str = "ood"

    def tests_of(self, cell: Cell) -> list[str]:  # noqa: ARG002 - each has the same tests
        """Name each other set, and again re-encoded."""
        jpeg = jpeg_of(self.parts.test.images)
        again = [f"{name}, {RE_ENCODED}" for name in self.others] if jpeg else []
        return [*self.others, *again]

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell; all draws have the same test images."""
        tests = {
            name: choose(images, self.caps.some(np.arange(len(images))))
            for name, images in self.others.items()
        }
        normals = self.parts.test.images
        if jpeg := jpeg_of(normals):
            shape = square_shape(typical_image(normals), longest=_LONGEST)
            for name, images in list(tests.items()):
                tests[f"{name}, {RE_ENCODED}"] = ReencodedSource(images, jpeg, shape)
        return Split(self.trained_on(cell).images, None, self.tested_on().images, tests)

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """Measure AUROC, AUPR both ways, and FPR at 95% TPR, of each score."""
        return judge_each_test(contender, exam, ood_metrics)
