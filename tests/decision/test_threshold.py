import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st

from anomem.decision.calibrate import Calibration
from anomem.decision.threshold import (
    BestF1,
    FalseAlarms,
    FindLabelled,
    LeastCost,
    Rule,
    rule_of,
    threshold_by,
)

# Few different values, so that ties are the rule.
some_scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


def counts(normal: list[float], anomalous: list[float], threshold: float) -> tuple[int, int]:
    """False alarms and missed anomalies."""
    return sum(n > threshold for n in normal), sum(a <= threshold for a in anomalous)


def every_decision(normal: list[float], anomalous: list[float]) -> list[tuple[int, int]]:
    """False alarms and missed anomalies of every threshold that decides differently."""
    known = sorted({*normal, *anomalous})
    return [counts(normal, anomalous, t) for t in [known[0] - 1, *known]]


def f1(false: int, missed: int, anomalies: int) -> float:
    found = anomalies - missed
    return 2 * found / (2 * found + false + missed)


@given(normal=some_scores, anomalous=some_scores)
def test_best_f1_is_that_of_the_best_of_all_thresholds(
    normal: list[float], anomalous: list[float]
) -> None:
    threshold = threshold_by(BestF1(), Calibration.of(normal), lambda: anomalous)
    made = f1(*counts(normal, anomalous, threshold), len(anomalous))
    assert made == max(f1(*each, len(anomalous)) for each in every_decision(normal, anomalous))


@given(normal=some_scores, anomalous=some_scores)
def test_find_labelled_misses_nothing_with_the_fewest_alarms(
    normal: list[float], anomalous: list[float]
) -> None:
    made = counts(
        normal, anomalous, threshold_by(FindLabelled(), Calibration.of(normal), lambda: anomalous)
    )
    assert made == min(each for each in every_decision(normal, anomalous) if each[1] == 0)


@given(
    normal=some_scores,
    anomalous=some_scores,
    miss=st.floats(0.1, 1000),
    share=st.floats(0.001, 0.999),
)
def test_least_cost_is_that_of_the_best_of_all_thresholds(
    normal: list[float], anomalous: list[float], miss: float, share: float
) -> None:
    def cost(false: int, missed: int) -> float:
        of_misses = share * miss * missed / len(anomalous)
        return of_misses + (1 - share) * false / len(normal)

    threshold = threshold_by(LeastCost(miss, share), Calibration.of(normal), lambda: anomalous)
    least = min(cost(*each) for each in every_decision(normal, anomalous))
    assert cost(*counts(normal, anomalous, threshold)) == pytest.approx(least, rel=1e-6)


def test_a_threshold_lies_in_the_middle_of_a_gap() -> None:
    assert threshold_by(FindLabelled(), Calibration.of([0.0, 1.0]), lambda: [3.0, 5.0]) == 2.0
    assert threshold_by(BestF1(), Calibration.of([0.0, 1.0]), lambda: [3.0, 5.0]) == 2.0


def test_neighbouring_scores_are_told_apart() -> None:
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2))
    threshold = threshold_by(FindLabelled(), Calibration.of([low]), lambda: [high])
    assert (np.array([low, high]) > threshold).tolist() == [False, True]


def test_false_alarms_do_not_ask_for_anomalies() -> None:
    def anomalies() -> list[float]:
        raise AssertionError("asked for")

    assert threshold_by(FalseAlarms(0.25), Calibration.of([1.0, 2.0, 3.0]), anomalies) == 3.0
    with pytest.warns(UserWarning, match="alpha=0.05 needs 19 held-out normals and there are 3"):
        assert threshold_by(FalseAlarms(), Calibration.of([1.0, 2.0, 3.0]), anomalies) == 3.0


@pytest.mark.parametrize("rule", [BestF1(), FindLabelled(), LeastCost(10, 0.1)])
def test_other_rules_need_labelled_anomalies(rule: Rule) -> None:
    with pytest.raises(ValueError, match="needs labelled anomalies and there are none; adapt to"):
        threshold_by(rule, Calibration.of([1.0, 2.0]), list)


def test_rules_are_written_as_words() -> None:
    assert rule_of(0.01) == rule_of("0.01") == FalseAlarms(0.01)
    assert rule_of("f1") == BestF1()
    assert rule_of("find-labelled") == FindLabelled()
    assert rule_of("cost:50:0.01") == rule_of(LeastCost(50, 0.01)) == LeastCost(50, 0.01)


@pytest.mark.parametrize("word", ["f2", "", "cost", "cost:50", "cost:a:b", "f1:2", "0.05:1"])
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"rule is '{word}'; give a share of false alarms"):
        rule_of(word)


@pytest.mark.parametrize(
    ("word", "message"), [("cost:0:0.1", "miss is 0.0"), ("cost:5:1", "share is 1.0")]
)
def test_costs_out_of_range_are_refused(word: str, message: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        rule_of(word)
