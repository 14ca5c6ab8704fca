"""What the scores of a method on a test are worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from anomem_bench.race import Contender, Judgement, Measures
from anomem_bench.split import Exam

Scores = npt.NDArray[np.float32]
Measure = Callable[[Scores, Scores], dict[str, float]]
"""From the scores of normals and of anomalies to measures in [0, 1], by name."""


def judge_each_test(contender: Contender, exam: Exam, measure: Measure) -> Judgement:
    """Measure every score of a contender on every test of an exam, the normals being the same."""
    normal = contender.scores(exam.test_normals)
    tests = {test: contender.scores(images) for test, images in exam.test_anomalies.items()}
    return {
        score: {
            test: Measures(measure(good, odd[score]), len(good) + len(odd[score]))
            for test, odd in tests.items()
        }
        for score, good in normal.items()
    }
