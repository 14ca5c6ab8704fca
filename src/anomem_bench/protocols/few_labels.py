"""Few labels: some anomalies labelled, of all kinds or of one (Ding et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from anomem_bench.protocols.of_kinds import OfKinds
from anomem_bench.results import EVERY_KIND
from anomem_bench.split import Cell, Split

FewSetting = Literal["general", "hard"]


@dataclass(frozen=True)
class FewLabels(OfKinds):
    """Labels a few anomalies, and compares with methods that are given none.

    The two settings of "Catching Both Gray and Black Swans" (Ding et al., CVPR 2022). General:
    anomalies of any kind are labelled, and the test is against each kind and against all. Hard: all
    that are labelled are of one kind, each kind in turn, and the test is against all others.

    Labelled anomalies come from the test part and are left out of the test: as many as the largest
    number of labels, at every number, so that all rows of a table are measured on the same images.
    The labels of a draw at one number are among those at a larger one. In the general setting one
    image of each kind at least stays in the test. Without labels all methods are trained that can
    be; with labels those that use them.

    Attributes:
        kinds: Kinds that are labelled in turn in the hard setting; none for all that have as many
            images as the largest number of labels.
        labels: Numbers of labelled anomalies, 0 for none.
        settings: One or both.
    """

    labels: tuple[int, ...] = (0, 1, 10)
    settings: tuple[FewSetting, ...] = ("general", "hard")
    name: str = "few-labels"

    def cells(self) -> list[Cell]:
        """List a training set for each number of labels; in the hard setting for each kind too.

        Raises:
            ValueError: There is no such kind, none with enough images, or no other to test against.
        """
        normal, kinds = self.normal, self._labelled_kinds()
        count = int((self.train.label == 0).sum())
        normals = min(count, self.caps.normals or count)
        return [
            Cell(normal, labels / (labels + normals), setting, draw, labels=labels, labelled=kind)
            for draw in range(self.draws)
            for setting in self.settings
            for labels in self.labels
            for kind in (kinds if labels and setting == "hard" else ("",))
        ]

    def tests_of(self, cell: Cell) -> list[str]:
        """Name each kind and all together; in the hard setting all but a kind."""
        if cell.anomaly_classes == "general":
            return [*self.known(), EVERY_KIND]
        labelled = [cell.labelled] if cell.labelled else self._labelled_kinds()
        return [all_but(kind) for kind in labelled]

    def cases(self, kinds: Sequence[str]) -> dict[str, Sequence[str]]:
        """Give by name of a test the kinds it is against: each, all, and all but each."""
        cases = super().cases(kinds)
        for kind in self.known():
            if others := [other for other in kinds if other != kind]:
                cases[all_but(kind)] = others
        return cases

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell.

        Raises:
            ValueError: There are too few anomalies.
        """
        train, test = self.train, self.parts.test
        rng = np.random.default_rng(cell.draw)
        normals = rng.permutation(np.flatnonzero(train.label == 0))[: self.caps.normals]
        pool = self._pool(cell, rng)
        labelled = pool[: cell.labels]
        tested = [kind for kind in self.known() if kind != cell.labelled]
        return Split(
            train.choose(normals).images,
            test.choose(labelled).images if cell.labels else None,
            test.choose(self.caps.some(np.flatnonzero(test.label == 0))).images,
            {
                kind: test.choose(self.caps.some(np.setdiff1d(test.of([kind]), pool))).images
                for kind in tested
            },
        )

    def _labelled_kinds(self) -> list[str]:
        """Kinds that are labelled in turn in the hard setting."""
        if "hard" not in self.settings:
            return []
        test, most = self.parts.test, max(self.labels)
        kinds = [k for k in self.in_turn() if self.kinds or len(test.of([k])) >= most]
        if not kinds or len(self.known()) < 2:
            raise ValueError(
                f"the hard setting labels {most} anomalies of one kind and tests against others, "
                f"for which the kinds of {self.data} are too small or too few; lower labels, or "
                "take the general setting alone."
            )
        return kinds

    def _pool(self, cell: Cell, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Test images that are labelled at the largest number of labels, in the order of a draw."""
        test, most = self.parts.test, max(self.labels)
        if cell.anomaly_classes == "general":
            pool = rng.permutation(np.flatnonzero(test.label > 0))
            _, first = np.unique(test.label[pool], return_index=True)
            pool, of = np.delete(pool, first), "anomalies beside one of each kind to test"
        elif cell.labelled:
            pool, of = rng.permutation(test.of([cell.labelled])), f"images of {cell.labelled!r}"
        else:
            return np.empty(0, np.int64)
        if len(pool) < most:
            raise ValueError(f"{most} are to be labelled of {len(pool)} {of}; lower labels.")
        return pool[:most]


def all_but(kind: str) -> str:
    """Name the test against all kinds but one."""
    return f"all but {kind}"
