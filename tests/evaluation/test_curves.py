from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from anomem.evaluation.curves import GRID, precision, precision_band, roc, roc_band
from anomem.evaluation.intervals import Values

RNG = np.random.default_rng(0)
NORMAL, ANOMALOUS = RNG.normal(size=300), RNG.normal(1.0, size=200)


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


@pytest.mark.parametrize("curve, band", [(roc, roc_band), (precision, precision_band)])
def test_a_curve_lies_in_its_band(
    curve: Callable[[Values, Values], Values],
    band: Callable[[Values, Values], tuple[Values, Values]],
) -> None:
    for normal, anomalous in ((NORMAL, ANOMALOUS), (NORMAL[:20], ANOMALOUS[:10])):
        low, high = band(normal, anomalous)
        assert low.shape == high.shape == GRID.shape and (low >= 0).all() and (high <= 1).all()
        inner = slice(1, None)  # where nothing is found, nothing is right or wrong
        assert (low <= curve(normal, anomalous))[inner].all()
        assert (curve(normal, anomalous) <= high)[inner].all()


@pytest.mark.parametrize("anomalies", [10, 30, 100])
def test_bands_cover_the_truth_at_each_point(anomalies: int) -> None:
    normals, mean, draws = 60, 2.0, 200
    found = norm.sf(norm.isf(GRID), mean)
    false = norm.sf(norm.isf(GRID, mean))
    with np.errstate(invalid="ignore"):
        right = GRID * anomalies / (GRID * anomalies + false * normals)
    rng = np.random.default_rng(0)
    held = []
    for _ in range(draws):
        pair = rng.normal(size=normals), rng.normal(mean, 1, anomalies)
        bands = (*roc_band(*pair), found), (*precision_band(*pair), right)
        held.append([(low <= true) & (true <= high) for low, high, true in bands])
    covered = np.mean(held, axis=0)[:, 1:]
    assert covered.min() >= 0.9 and covered.mean() >= 0.95
