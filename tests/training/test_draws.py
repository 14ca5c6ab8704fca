from collections import Counter

import torch
from hypothesis import given, settings, strategies as st

from anomem.training.draws import Chance, Draws, seeded
from anomem.training.ranks import Ranks


@given(count=st.integers(1, 40), batch=st.integers(1, 60), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_every_pass_draws_every_index_once(count: int, batch: int, seed: int) -> None:
    draws = Draws(count, batch, seed)
    passes = 3
    steps = -(-passes * count // draws.batch)
    stream = torch.cat([draws.indices(step) for step in range(steps)]).tolist()
    for number in range(passes):
        assert sorted(stream[number * count : (number + 1) * count]) == list(range(count))


@given(
    count=st.integers(1, 40),
    batch=st.integers(1, 60),
    step=st.integers(0, 10_000),
    earlier=st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=30)
def test_step_depends_on_nothing_drawn_before(
    count: int, batch: int, step: int, earlier: int
) -> None:
    draws = Draws(count, batch, seed=3)
    draws.indices(earlier)
    assert torch.equal(draws.indices(step), Draws(count, batch, seed=3).indices(step))


def test_batch_larger_than_the_set_goes_on_with_the_next_pass() -> None:
    draws = Draws(5, 7, seed=0)
    stream = torch.cat([draws.indices(step) for step in range(5)]).view(-1, 5)
    assert stream.sort().values.tolist() == 7 * [[0, 1, 2, 3, 4]]


def test_passes_and_seeds_differ() -> None:
    draws = Draws(100, 100, seed=0)
    assert not torch.equal(draws.indices(0), draws.indices(1))
    assert not torch.equal(draws.indices(0), Draws(100, 100, seed=1).indices(0))


def test_generators_of_seeds_and_steps_differ() -> None:
    first = Counter(
        float(torch.rand(1, generator=seeded(seed, step), dtype=torch.float64))
        for seed in range(10)
        for step in range(50)
    )
    assert max(first.values()) == 1
    again = torch.rand(1, generator=seeded(9, 49), dtype=torch.float64)
    assert float(again) in first


@given(world=st.integers(1, 4), own=st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_processes_draw_for_their_rows_what_one_draws_for_all(world: int, own: int) -> None:
    def drawn(ranks: Ranks) -> torch.Tensor:
        chance, count = Chance(seeded(1, 2), ranks), world * own // ranks.world
        return torch.stack([chance.uniform(count, -1.0, 1.0), chance.integers(count, 9).float()])

    whole = drawn(Ranks())
    for rank in range(world):
        assert torch.equal(drawn(Ranks(None, rank, world)), whole[:, rank::world])
