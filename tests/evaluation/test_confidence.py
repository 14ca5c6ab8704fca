import numpy as np
import pytest

from anomem.evaluation.confidence import GRID, interval, overkill, precision, roc
from anomem.evaluation.metrics import auroc

RNG = np.random.default_rng(0)
NORMAL, ANOMALOUS = RNG.normal(size=300), RNG.normal(1.0, size=200)


def test_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    low, high = interval(lambda normal, anomalous: normal.mean(), NORMAL, ANOMALOUS)
    error = NORMAL.std() / np.sqrt(len(NORMAL))
    assert low == pytest.approx(NORMAL.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(NORMAL.mean() + 1.96 * error, abs=0.3 * error)


def test_interval_covers_the_truth_nineteen_times_of_twenty() -> None:
    truth, covered = 0.7602, 0  # of N(0, 1) against N(1, 1): Phi(1 / sqrt 2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        low, high = interval(auroc, rng.normal(size=80), rng.normal(1.0, size=80), seed)
        covered += int(low <= truth <= high)
    assert 17 <= covered <= 20


def test_curves_by_counting() -> None:
    curve = roc(NORMAL, ANOMALOUS)
    for share in (0.1, 0.5):
        line = np.quantile(NORMAL, 1 - share)
        assert curve[np.searchsorted(GRID, share)] == pytest.approx(
            (line < ANOMALOUS).mean(), abs=0.02
        )
    right = precision(NORMAL, ANOMALOUS)
    line = np.quantile(ANOMALOUS, 0.5)
    found, false = (line < ANOMALOUS).sum(), (line < NORMAL).sum()
    assert right[np.searchsorted(GRID, 0.5)] == pytest.approx(found / (found + false), abs=0.02)


def test_a_curve_has_a_band() -> None:
    low, high = interval(roc, NORMAL, ANOMALOUS)
    assert low.shape == high.shape == GRID.shape
    assert (low <= high).all() and low[100] < roc(NORMAL, ANOMALOUS)[100] < high[100]


def test_overkill_is_the_price_of_no_miss() -> None:
    assert overkill([0.0, 1.0, 2.0, 3.0], [2.0, 9.0]) == 0.5
    assert overkill([0.0, 1.0], [2.0, 9.0]) == 0.0
