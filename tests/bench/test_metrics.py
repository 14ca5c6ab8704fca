import pytest
from hypothesis import given, settings, strategies as st

from anomem.evaluation.metrics import auroc, average_precision
from anomem_bench.metrics import attack_metrics, equal_error_rate, ood_metrics

few_scores = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


def slow_fpr95(normal: list[int], anomalous: list[int]) -> float:
    """Anomalies that pass at the lowest level at which 95% of the normals pass."""
    for level in sorted({*normal, *anomalous}):
        if sum(n <= level for n in normal) >= 0.95 * len(normal):
            return sum(a <= level for a in anomalous) / len(anomalous)
    raise AssertionError


@settings(deadline=None, max_examples=40)
@given(few_scores, few_scores)
def test_ood_metrics_are_their_definitions(normal: list[int], anomalous: list[int]) -> None:
    upside_down = [-n for n in normal], [-a for a in anomalous]
    assert ood_metrics(normal, anomalous) == {
        "auroc": pytest.approx(auroc(normal, anomalous)),
        "aupr_out": pytest.approx(average_precision(normal, anomalous)),
        "aupr_in": pytest.approx(average_precision(upside_down[1], upside_down[0])),
        "fpr95": pytest.approx(slow_fpr95(normal, anomalous)),
    }


@settings(deadline=None, max_examples=40)
@given(few_scores, few_scores, few_scores, st.integers(-6, 6))
def test_attack_metrics_are_their_definitions(
    bona_fide: list[int], prints: list[int], masks: list[int], threshold: int
) -> None:
    metrics = attack_metrics(bona_fide, {"print": prints, "mask": masks}, threshold)
    missed = [sum(a <= threshold for a in kind) / len(kind) for kind in (prints, masks)]
    refused = sum(n > threshold for n in bona_fide) / len(bona_fide)
    assert metrics["apcer"] == pytest.approx(max(missed))
    assert metrics["bpcer"] == pytest.approx(refused)
    assert metrics["acer"] == pytest.approx((max(missed) + refused) / 2)
    assert metrics["eer"] == equal_error_rate(bona_fide, prints + masks)


@settings(deadline=None, max_examples=40)
@given(few_scores, few_scores)
def test_equal_error_rate_is_where_the_errors_are_nearest(
    normal: list[int], anomalous: list[int]
) -> None:
    errors = []
    for threshold in [min(*normal, *anomalous) - 1, *normal, *anomalous]:
        refused = sum(n > threshold for n in normal) / len(normal)
        missed = sum(a <= threshold for a in anomalous) / len(anomalous)
        errors.append((abs(refused - missed), (refused + missed) / 2))
    nearest = min(gap for gap, _ in errors)
    rates = [rate for gap, rate in errors if gap == pytest.approx(nearest)]
    assert any(equal_error_rate(normal, anomalous) == pytest.approx(rate) for rate in rates)
