import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anomem.calibration import hold_out, hold_out_some, p_values, smallest_alpha, threshold

# Few different values, so that ties are the rule.
scores_with_ties = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40)


@given(scores=scores_with_ties, held_out=scores_with_ties)
def test_p_value_counts_the_normals_at_least_as_anomalous(
    scores: list[float], held_out: list[float]
) -> None:
    for score, p in zip(scores, p_values(scores, held_out), strict=True):
        assert p == (1 + sum(h >= score for h in held_out)) / (len(held_out) + 1)
        assert 0 < p <= 1


def test_p_values_keep_the_shape() -> None:
    assert p_values([[1.0, 2.0, 3.0]], [0.0, 2.0]).tolist() == [[2 / 3, 2 / 3, 1 / 3]]
    assert p_values(2.0, [0.0, 2.0]) == pytest.approx(2 / 3)
    assert p_values(np.array([0.1], np.float32), np.array([0.1], np.float32)).tolist() == [1.0]


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
    above = np.array(scores) > threshold(held_out, alpha)
    assert (above == (p_values(scores, held_out) <= alpha)).all()


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
    above = scores > threshold(held_out, alpha)
    assert (above == (p_values(scores, held_out) <= alpha)).all()


def test_alpha_written_with_rounding_is_the_rank_it_means() -> None:
    held_out = np.arange(99.0)
    for percent in range(1, 100):
        assert threshold(held_out, percent / 100) == 99 - percent
        assert threshold(held_out, percent * 0.01) == 99 - percent


def test_alpha_just_below_one_is_the_lowest_normal() -> None:
    assert threshold([1.0, 2.0, 3.0], np.nextafter(1, 0)) == 1.0


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.099, 1.0, 1.5, -0.1, float("nan")])
def test_alpha_beyond_the_normals_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="9 held-out normals support 0.1 to below 1"):
        threshold(np.arange(9), alpha)
    assert smallest_alpha(9) == 0.1


def test_normals_are_called_anomalous_at_most_that_often() -> None:
    rng, alpha, rates = np.random.default_rng(0), 0.1, []
    for _ in range(2000):
        held_out, normals = rng.normal(size=30), rng.normal(size=20)
        rates.append(np.mean(normals > threshold(held_out, alpha)))
    assert np.mean(rates) == pytest.approx(3 / 31, abs=0.008)


@given(count=st.integers(10, 400), share=st.floats(0.01, 0.5), seed=st.integers(0, 99))
def test_held_out_and_training_normals_are_all_normals(count: int, share: float, seed: int) -> None:
    train, held = hold_out(count, share, seed)
    assert sorted([*train, *held]) == list(range(count))
    assert list(train) == sorted(train) and list(held) == sorted(held)
    assert len(held) == min(max(round(share * count), 19), count // 2)
    again = hold_out(count, share, seed)
    assert (again[1] == held).all()


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=7),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
@settings(max_examples=200)
def test_groups_are_never_split(sizes: list[int], share: float, seed: int) -> None:
    count = sum(sizes)
    assume(count >= 10)
    groups = np.random.default_rng(seed).permutation(
        np.repeat([f"lot {k}" for k in range(len(sizes))], sizes)
    )
    train, held = hold_out(count, share, seed, groups.tolist())
    assert not set(groups[train]) & set(groups[held])
    assert sorted([*train, *held]) == list(range(count))
    assert 1 <= len(held) <= count // 2


def test_enough_are_held_out_where_whole_groups_allow_it() -> None:
    groups = ["small"] * 5 + ["first"] * 30 + ["second"] * 30
    for seed in range(20):
        assert len(hold_out(65, 0.1, seed, groups)[1]) == 30


def test_seeds_draw_different_normals() -> None:
    assert hold_out(100, 0.2, 0)[1].tolist() != hold_out(100, 0.2, 1)[1].tolist()


def test_of_many_normals_a_thousand_are_held_out() -> None:
    assert len(hold_out(200_000, 0.1, 0)[1]) == 1_000


@pytest.mark.parametrize(
    ("count", "message"), [(9, "9 normal images are too few"), (1, "1 normal image is too few")]
)
def test_too_few_normals(count: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} .*; give at least 10"):
        hold_out(count, 0.1, 0)


def test_single_group() -> None:
    with pytest.raises(ValueError, match="all 12 normals are of the group 'lot 7'; "):
        hold_out(12, 0.1, 0, ["lot 7"] * 12)


@pytest.mark.parametrize(("count", "held_out"), [(10, 5), (100, 19), (5000, 500), (10**8, 1000)])
def test_some_of_very_many_are_held_out(count: int, held_out: int) -> None:
    drawn = hold_out_some(count, 0.1, seed=1)
    assert len(set(drawn.tolist())) == held_out == len(drawn)
    assert (np.diff(drawn) > 0).all() and drawn[0] >= 0 and drawn[-1] < count
    assert np.array_equal(drawn, hold_out_some(count, 0.1, seed=1))
    assert not np.array_equal(drawn, hold_out_some(count, 0.1, seed=2))
