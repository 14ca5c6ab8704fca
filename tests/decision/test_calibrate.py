import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra.numpy import arrays

from anomem.decision.calibrate import Calibration, p_values, smallest_alpha, threshold

# Few different values, so that ties are the rule.
scores_with_ties = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40)


@given(scores=scores_with_ties, held_out=scores_with_ties)
def test_p_value_counts_the_normals_at_least_as_anomalous(
    scores: list[float], held_out: list[float]
) -> None:
    for score, p in zip(scores, p_values(scores, Calibration.of(held_out)), strict=True):
        assert p == (1 + sum(h >= score for h in held_out)) / (len(held_out) + 1)
        assert 0 < p <= 1


def test_p_values_keep_the_shape() -> None:
    assert p_values([[1.0, 2.0, 3.0]], Calibration.of([0.0, 2.0])).tolist() == [
        [2 / 3, 2 / 3, 1 / 3]
    ]
    assert p_values(2.0, Calibration.of([0.0, 2.0])) == pytest.approx(2 / 3)
    assert p_values(
        np.array([0.1], np.float32), Calibration.of(np.array([0.1], np.float32))
    ).tolist() == [1.0]


@given(
    scores=scores_with_ties,
    held_out=scores_with_ties,
    alpha=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_above_the_threshold_is_a_small_p_value(
    scores: list[float], held_out: list[float], alpha: float
) -> None:
    count = len(held_out)
    assume(alpha >= smallest_alpha(count))
    # A share just below k / (n + 1) is taken for it: it was most probably meant.
    assume(alpha * (count + 1) % 1 < 1 - 1e-8 or alpha * (count + 1) > count)
    above = np.array(scores) > threshold(Calibration.of(held_out), alpha)
    assert (above == (p_values(scores, Calibration.of(held_out)) <= alpha)).all()


@given(
    scores=arrays(np.float32, 20, elements=st.floats(-10, 10, width=32)),
    held_out=arrays(np.float32, st.integers(1, 60), elements=st.floats(-10, 10, width=32)),
    data=st.data(),
)
def test_agreement_at_every_rank(
    scores: np.ndarray, held_out: np.ndarray, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(1, len(held_out)))
    alpha = rank / (len(held_out) + 1)
    scores = np.concatenate([scores, held_out])
    above = scores > threshold(Calibration.of(held_out), alpha)
    assert (above == (p_values(scores, Calibration.of(held_out)) <= alpha)).all()


def test_alpha_written_with_rounding_is_the_rank_it_means() -> None:
    held_out = np.arange(99.0)
    for percent in range(1, 100):
        assert threshold(Calibration.of(held_out), percent / 100) == 99 - percent
        assert threshold(Calibration.of(held_out), percent * 0.01) == 99 - percent


def test_alpha_just_below_one_is_the_lowest_normal() -> None:
    assert threshold(Calibration.of([1.0, 2.0, 3.0]), np.nextafter(1, 0)) == 1.0


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.099, 1.0, 1.5, -0.1, float("nan")])
def test_alpha_beyond_the_normals_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"9 held-out normals support 0\.1 to below 1"):
        threshold(Calibration.of(np.arange(9)), alpha)
    assert smallest_alpha(9) == 0.1


def test_normals_are_called_anomalous_at_most_that_often() -> None:
    rng, alpha, rates = np.random.default_rng(0), 0.1, []
    for _ in range(2000):
        held_out, normals = rng.normal(size=30), rng.normal(size=20)
        rates.append(np.mean(normals > threshold(Calibration.of(held_out), alpha)))
    assert np.mean(rates) == pytest.approx(3 / 31, abs=0.008)
