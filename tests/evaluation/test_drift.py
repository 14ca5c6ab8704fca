from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binomtest

from anomem.decision.calibrate import Calibration
from anomem.evaluation.drift import ALPHA, Change, Drift, bet, first_change, payments, reserve

Floats = npt.NDArray[np.float64]


def told(calibration: Calibration, scores: Floats) -> list[Change]:
    drift = Drift(calibration)
    changes = (drift.take(str(number), score) for number, score in enumerate(scores))
    return [change for change in changes if change]


def drawn(held_out: int, images: int, seed: int) -> tuple[Floats, Floats]:
    draw = np.random.default_rng(seed).normal(size=held_out + images)
    return draw[:held_out], draw[held_out:]


def test_every_bet_is_fair_and_decreases_or_increases() -> None:
    """The mean of what it pays over all ranks of an image is what is staked, with ties too."""
    for edges in (np.linspace(0, 1, 21), np.array([0, 0.001, 0.3, 0.9, 1])):
        paid = payments(edges[:-1], edges[1:])
        np.testing.assert_allclose(np.diff(edges) @ paid, 1, rtol=1e-12)
        assert (np.diff(paid[:, :8], axis=0) <= 1e-9).all()
        assert (np.diff(paid[:, 8:], axis=0) >= -1e-9).all()


@pytest.mark.parametrize("held_out", [19, 99, 500])
def test_a_change_that_is_none_is_told_in_one_of_a_hundred_runs_at_most(held_out: int) -> None:
    """Ranks among exchangeable scores are uniform, so that many runs go side by side.

    ``benchmarks/drift.py`` has more and longer ones.
    """
    runs, rng = 200, np.random.default_rng(held_out)
    capital, most = np.zeros((runs, 11)), np.zeros(runs)
    for seen in range(1_000):
        rank = rng.integers(held_out + seen + 1, size=runs)
        paid = payments(rank / (held_out + seen + 1), (rank + 1) / (held_out + seen + 1))
        capital = bet(capital, seen, paid)
        most = np.maximum(most, reserve(seen + 1) + capital.sum(axis=1))
    alarms = int((most >= 1 / ALPHA).sum())
    assert binomtest(alarms, runs, ALPHA, alternative="greater").pvalue > 0.001, alarms


def test_of_each_group_one_held_out_normal_is_compared_with() -> None:
    """Those of one lot are alike, so all 200 of 5 lots would be no 200 images of the line."""
    runs, alarms = 60, {"one": 0, "all": 0}
    for run in range(runs):
        rng = np.random.default_rng(run)
        lots, images = rng.normal(size=(5, 1)), rng.normal(size=(5, 40))
        group = np.repeat(np.arange(5), 40)
        held_out = Calibration((lots + images).ravel(), group, np.zeros(200, np.int64))
        line = rng.normal(size=(2, 400)).sum(axis=0)  # each image of a lot of its own
        alarms["one"] += bool(told(held_out, line))
        alarms["all"] += bool(told(Calibration.of(held_out.scores), line))
    assert binomtest(alarms["one"], runs, ALPHA, alternative="greater").pvalue > 0.001
    assert alarms["all"] > 0.1 * runs


def test_held_out_normals_that_lie_higher_tell_no_change_where_they_are_held_out_in_turn() -> None:
    """By a memory that lacks them they do: by .1 to .3 standard deviations; .5 shows it sooner."""
    runs, alarms = 30, {True: 0, False: 0}
    for run in range(runs):
        held_out, line = drawn(99, 2_000, seed=run)
        for in_turn in alarms:
            drift = Drift(replace(Calibration.of(held_out + 0.5), in_turn=in_turn))
            alarms[in_turn] += any(drift.take(str(i), score) for i, score in enumerate(line))
    assert binomtest(alarms[True], runs, ALPHA, alternative="greater").pvalue > 0.001
    assert alarms[False] > 0.1 * runs


def test_a_change_for_the_worse_is_told_where_normals_are_held_out_in_turn() -> None:
    held_out, scores = drawn(99, 400, seed=0)
    calibration = replace(Calibration.of(held_out + 0.3), in_turn=True)
    line = {str(i): score + 1.5 * (i >= 200) for i, score in enumerate(scores)}
    change = first_change(calibration, line)
    assert change is not None and change.cause == "higher scores" and change.seen > 200
    assert first_change(calibration, {name: -score for name, score in line.items()}) is None


def test_the_evidence_is_the_mixture_over_all_bets_and_beginnings() -> None:
    held_out, scores = drawn(19, 30, seed=3)
    drift, every = Drift(Calibration.of(held_out)), []
    for index, score in enumerate(scores):
        drift.take(str(index), score)
        among = np.append(held_out, scores[:index])
        rank = (among > score).sum()
        every.append(payments(rank / (len(among) + 1), (rank + 1) / (len(among) + 1)))
    expected = reserve(len(scores))
    for start in range(len(scores)):
        share = (reserve(start) - reserve(start + 1)) / 11
        expected += share * np.prod(every[start:], axis=0).sum()
    assert drift.evidence == pytest.approx(expected)


CHANGES: dict[str, Callable[[Floats], Floats]] = {
    "more anomalies": lambda z: np.where(np.arange(len(z)) % 10 == 0, z + 6, z),
    "higher scores": lambda z: z + 1.5,
    "lower scores": lambda z: z - 1.5,
}


@pytest.mark.parametrize("cause", CHANGES)
def test_a_change_after_2_000_images_is_told_with_its_cause_and_where_it_began(cause: str) -> None:
    held_out, scores = drawn(99, 2_400, seed=0)
    scores[2_000:] = CHANGES[cause](scores[2_000:])
    line = {str(number): score for number, score in enumerate(scores)}
    first = first_change(Calibration.of(held_out), line)
    assert first is not None
    assert first.cause == cause
    assert first.share > 0.8
    assert 2_000 < first.seen < 2_200
    assert 1_990 < int(first.since) < 2_040
    assert set(map(int, first.images)) <= set(range(1_990, first.seen))
    if cause == "more anomalies":
        assert all(int(name) % 10 == 0 for name in first.images)
    assert str(first).startswith(f"the images have changed since about {first.since}: ")


def test_a_change_is_told_once_and_again_when_it_has_come_back() -> None:
    held_out, scores = drawn(99, 3_400, seed=1)
    scores[:1_000] += 2
    scores[3_000:] += 2
    causes = [change.cause for change in told(Calibration.of(held_out), scores)]
    assert causes == ["higher scores", "higher scores"]


def test_images_that_are_alike_are_no_change() -> None:
    """Equal scores, as of copies, share a rank and are bet on in its middle."""
    held_out = np.repeat([0.0, 1.0], 25)
    assert told(Calibration.of(held_out), np.tile([0.0, 1.0], 500)) == []
