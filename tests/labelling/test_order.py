import numpy as np
import pytest

from anomem.decision.calibrate import Calibration, p_values
from anomem.labelling.order import anomalies_among, most_telling_first


def test_the_most_anomalous_comes_before_four_uncertain_ones() -> None:
    score = np.array([0.0, 9.0, 1.1, 5.0, 0.7, 3.0, 0.4, 8.0, -4.0], np.float32)
    assert most_telling_first(score, 1.0).tolist() == [1, 2, 4, 6, 0, 7, 5, 3, 8]


def test_every_image_comes_once() -> None:
    score = np.random.default_rng(0).normal(size=101).astype(np.float32)
    assert sorted(most_telling_first(score, 0.3)) == list(range(101))
    assert most_telling_first(score[:0], 0.3).tolist() == []


@pytest.mark.parametrize("anomalies", [0, 40, 150])
@pytest.mark.parametrize("held_out", [19, 200])
def test_the_range_holds_the_number_of_anomalies(anomalies: int, held_out: int) -> None:
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scores = np.r_[rng.normal(size=500), rng.normal(4, 1, size=anomalies)]
        p = p_values(scores, Calibration.of(rng.normal(size=held_out)))
        low, high = anomalies_among(p, held_out)
        held += int(low <= anomalies <= high)
    assert held >= 90


def test_nothing_is_left_of_nothing() -> None:
    assert anomalies_among(np.zeros(0), 19) == (0, 0)
    assert anomalies_among(np.full(7, 0.01), 19) == (7, 7)
