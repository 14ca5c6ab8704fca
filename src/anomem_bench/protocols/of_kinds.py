"""What the protocols share that test against each kind of attack or defect of a set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomem.evaluation.metrics import auroc
from anomem_bench.contender import Contender
from anomem_bench.datasets.parts import NORMAL
from anomem_bench.exam import Exam, Judgement, Measures
from anomem_bench.metrics import attack_metrics
from anomem_bench.protocols.protocol import BenchProtocol
from anomem_bench.results import EVERY_KIND

ALPHA = 0.05
"""Largest share of the development normals above the threshold."""

Attacks = Mapping[str, npt.NDArray[np.float32]]
"""Scores of anomalies by kind."""


@dataclass(frozen=True)
class OfKinds(BenchProtocol):
    """Tests against kinds of anomaly; the first class of the data set is the normal one.

    Attributes:
        kinds: Kinds of anomaly that are taken in turn; none for all.
    """

    kinds: tuple[str, ...] = ()

    @property
    def normal(self) -> str:
        """Name the normal class.

        Raises:
            ValueError: There is none.
        """
        normal = self.parts.test.classes[0]
        if normal not in NORMAL:
            raise ValueError(
                f"the first class of {self.data} is {normal!r}; {self.name} needs a normal one, "
                f"named {', '.join(NORMAL)}."
            )
        return normal

    def known(self) -> list[str]:
        """Name the kinds of anomaly that the test has images of."""
        test = self.parts.test
        return [name for index, name in enumerate(test.classes) if index and index in test.label]

    def in_turn(self) -> Sequence[str]:
        """Name the kinds that are taken in turn.

        Raises:
            ValueError: There is no such kind.
        """
        known = self.known()
        unknown = [kind for kind in self.kinds if kind not in known]
        if unknown:
            raise ValueError(f"there is no kind {unknown[0]!r}; choose from {', '.join(known)}.")
        return self.kinds or known

    def cases(self, kinds: Sequence[str]) -> dict[str, Sequence[str]]:
        """Give by name of a test the kinds it is against: each alone, and all together."""
        return {kind: [kind] for kind in kinds} | {EVERY_KIND: kinds}

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """Measure the AUROC of each score on each case of the kinds that are tested.

        With development normals, also APCER, BPCER, ACER and EER, at the threshold that they give.
        """
        normal = contender.scores(exam.test_normals)
        kept = {} if exam.development is None else contender.scores(exam.development)
        odd = {kind: contender.scores(images) for kind, images in exam.test_anomalies.items()}
        return {
            score: {
                case: _measures(good, {kind: odd[kind][score] for kind in kinds}, kept.get(score))
                for case, kinds in self.cases(list(odd)).items()
            }
            for score, good in normal.items()
        }


def _measures(
    good: npt.NDArray[np.float32], attacks: Attacks, kept: npt.NDArray[np.float32] | None
) -> Measures:
    scores = np.concatenate(list(attacks.values()))
    measures = {"auroc": auroc(good, scores)}
    if kept is not None:
        threshold = float(np.quantile(kept, 1 - ALPHA, method="higher"))
        measures |= attack_metrics(good, attacks, threshold)
    return Measures(measures, len(good) + len(scores))
