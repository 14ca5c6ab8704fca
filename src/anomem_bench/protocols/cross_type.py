"""Cross-type: one kind of attack or defect is never seen in training, each in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomem.detector.hold_out import hold_out
from anomem_bench.datasets.parts import Part
from anomem_bench.protocols.of_kinds import OfKinds
from anomem_bench.results import EVERY_KIND
from anomem_bench.split import Cell, Split, anomaly_count

DEVELOPMENT = 0.1
"""Share of the training normals that is kept to find the threshold."""


@dataclass(frozen=True)
class CrossType(OfKinds):
    """Trains on normals and all kinds of anomaly but one, which is tested against.

    At gamma 0 no anomaly is trained on, and the test is against each kind and against all.
    Thresholds come from a tenth of the training normals, at least 19, which no method sees and
    whose subjects are not among those trained on.

    The first class of the data set is the normal one. Where the training part has no anomalies, as
    in the layout of MVTec AD, those of the kinds that are trained on come from the test part.

    Attributes:
        kinds: Kinds of anomaly that are left out in turn; none for all.
        gammas: Shares of anomalies in the training set, in [0, 1).
    """

    gammas: tuple[float, ...] = (0.0, 0.05)
    name: str = "cross-type"

    def cells(self) -> list[Cell]:
        """List one training set at gamma 0, one for each kind left out at the others.

        Raises:
            ValueError: There is no such kind, or no normal class.
        """
        normal, kinds = self.normal, self.in_turn()
        return [
            Cell(normal, gamma, "seen" if gamma else "all", draw, kind)
            for draw in range(self.draws)
            for gamma in self.gammas
            for kind in (kinds if gamma else ("",))
        ]

    def tests_of(self, cell: Cell) -> list[str]:
        """Name the kind that was left out; where all were, each of them and all together."""
        return [cell.unseen] if cell.unseen else [*self.known(), EVERY_KIND]

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell.

        Raises:
            ValueError: There are too few anomalies of the other kinds.
        """
        train, test = self.train, self.parts.test
        rng = np.random.default_rng(cell.draw)
        good = train.choose(rng.permutation(np.flatnonzero(train.label == 0))[: self.caps.normals])
        normals, kept = hold_out(len(good), DEVELOPMENT, cell.draw, good.group)
        seen = self._seen(cell.unseen)
        count = anomaly_count(cell.gamma, len(normals))
        if count > len(seen):
            raise ValueError(
                f"gamma {cell.gamma:g} takes {count} anomalies of other kinds than "
                f"{cell.unseen!r} and there are {len(seen)}; lower it."
            )
        chosen = rng.permutation(len(seen))[:count]
        kinds = [cell.unseen] if cell.unseen else self.known()
        return Split(
            good.choose(normals).images,
            seen.choose(chosen).images if count else None,
            test.choose(self.caps.some(np.flatnonzero(test.label == 0))).images,
            {kind: test.choose(self.caps.some(test.of([kind]))).images for kind in kinds},
            good.choose(kept).images,
        )

    def _seen(self, unseen: str) -> Part:
        """Anomalies of all kinds but one: of the training part, or where it has none the test's."""
        train, test = self.train, self.parts.test
        part = train if (train.label > 0).any() else test
        allowed = [index for index, name in enumerate(part.classes) if index and name != unseen]
        return part.choose(np.flatnonzero(np.isin(part.label, allowed)))
