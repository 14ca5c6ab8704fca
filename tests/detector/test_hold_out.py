import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from anomem.detector.hold_out import hold_out, hold_out_some


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
@settings(max_examples=60)
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
