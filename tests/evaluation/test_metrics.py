import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from anomem.evaluation.metrics import (
    GRID,
    auroc,
    detection_metrics,
    overkill,
    precision_recall_on_grid,
    roc_on_grid,
)

few_scores = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


def slow_auroc(normal: list[int], anomalous: list[int]) -> float:
    """Chance that an anomaly scores above a normal image, a tie counting half."""
    wins = sum((a > n) + 0.5 * (a == n) for a in anomalous for n in normal)
    return wins / (len(normal) * len(anomalous))


def slow_average_precision(normal: list[int], anomalous: list[int]) -> float:
    """Sum of the precision at each score, weighted by the recall gained there."""
    total, recall_before = 0.0, 0.0
    for level in sorted({*normal, *anomalous}, reverse=True):
        found = sum(a >= level for a in anomalous)
        false = sum(n >= level for n in normal)
        recall = found / len(anomalous)
        total += (recall - recall_before) * found / (found + false)
        recall_before = recall
    return total


def slow_fpr(normal: list[int], anomalous: list[int]) -> float:
    """False alarms at the highest level at which 95% of the anomalies are found."""
    for level in sorted({*normal, *anomalous}, reverse=True):
        if sum(a >= level for a in anomalous) >= 0.95 * len(anomalous):
            return sum(n >= level for n in normal) / len(normal)
    raise AssertionError


def slow_f1(normal: list[int], anomalous: list[int], threshold: float) -> float:
    found = sum(a > threshold for a in anomalous)
    false = sum(n > threshold for n in normal)
    missed = len(anomalous) - found
    return 2 * found / (2 * found + false + missed) if found else 0.0


@settings(deadline=None, max_examples=40)
@given(few_scores, few_scores, st.integers(-6, 6))
def test_metrics_are_their_definitions(
    normal: list[int], anomalous: list[int], threshold: int
) -> None:
    metrics = detection_metrics(normal, anomalous, threshold)
    assert metrics == {
        "auroc": pytest.approx(slow_auroc(normal, anomalous)),
        "average_precision": pytest.approx(slow_average_precision(normal, anomalous)),
        "fpr_at_95_tpr": pytest.approx(slow_fpr(normal, anomalous)),
        "f1": pytest.approx(slow_f1(normal, anomalous, threshold)),
    }
    assert auroc(normal, anomalous) == pytest.approx(slow_auroc(normal, anomalous))


def test_by_hand() -> None:
    metrics = detection_metrics([0.1, 0.2, 0.3, 0.9], [0.8, 0.95, 0.25, 1.0], 0.5)
    assert metrics["auroc"] == 13 / 16
    assert metrics["average_precision"] == pytest.approx(1 / 4 + 1 / 4 + 3 / 16 + 1 / 6)
    assert metrics["fpr_at_95_tpr"] == 2 / 4
    assert metrics["f1"] == pytest.approx(6 / 8)


def test_perfect_and_upside_down() -> None:
    perfect = detection_metrics([0, 1], [2, 3], 1.5)
    assert set(perfect.values()) == {0.0, 1.0} and perfect["fpr_at_95_tpr"] == 0
    assert auroc([2, 3], [0, 1]) == 0


def test_float32_scores_are_fine() -> None:
    metrics = detection_metrics(
        np.arange(2, dtype=np.float32), np.arange(1, 3, dtype=np.float32), 1.0
    )
    assert metrics["auroc"] == 0.875
    assert all(isinstance(value, float) for value in metrics.values())


def test_curves_by_counting() -> None:
    rng = np.random.default_rng(0)
    normal, anomalous = rng.normal(size=300), rng.normal(1.0, size=200)
    curve = roc_on_grid(normal, anomalous)
    for share in (0.1, 0.5):
        line = np.quantile(normal, 1 - share)
        counted = (line < anomalous).mean()
        assert curve[np.searchsorted(GRID, share)] == pytest.approx(counted, abs=0.02)
    line = np.quantile(anomalous, 0.5)
    found, false = (line < anomalous).sum(), (line < normal).sum()
    right = precision_recall_on_grid(normal, anomalous)[np.searchsorted(GRID, 0.5)]
    assert right == pytest.approx(found / (found + false), abs=0.02)


def test_overkill_is_the_price_of_no_miss() -> None:
    assert overkill([0.0, 1.0, 2.0, 3.0], [2.0, 9.0]) == 0.5
    assert overkill([0.0, 1.0], [2.0, 9.0]) == 0.0
