from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from anomem.evaluation.intervals import (
    Interval,
    auroc_interval,
    detection_intervals,
    escape_bound,
    overkill_interval,
    precision_recall_band,
    rate_interval,
    roc_band,
    share_above,
)
from anomem.evaluation.metrics import (
    GRID,
    Values,
    detection_metrics,
    precision_recall_on_grid,
    roc_on_grid,
)

DRAWS = 150
"""A method that covers 95% covers less than ENOUGH of so many draws once in 1,000 times."""
ENOUGH = 0.89

Kind = tuple[Callable[[np.random.Generator, int], Values], Callable[[Values], Values]]
"""How anomalies are drawn, and the share of them above each line; normals are of N(0, 1)."""


def one_kind(auroc: float) -> Kind:
    mean = np.sqrt(2) * norm.ppf(auroc)
    return lambda rng, count: rng.normal(mean, 1, count), lambda line: norm.sf(line, mean)


def two_kinds(auroc: float) -> Kind:
    """Some are far away, the others look like normals."""
    far = 2 * auroc - 1

    def draw(rng: np.random.Generator, count: int) -> Values:
        return np.where(rng.random(count) < far, rng.normal(9, 1, count), rng.normal(size=count))

    return draw, lambda line: far * norm.sf(line, 9) + (1 - far) * norm.sf(line)


def drawn(kind: Kind, normals: int, anomalies: int) -> list[tuple[Values, Values]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=normals), kind[0](rng, anomalies)) for _ in range(DRAWS)]


def coverage(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def mean_width(intervals: list[Interval]) -> float:
    return float(np.mean([high - low for low, high in intervals]))


@pytest.mark.parametrize("normals", [20, 1000])
@pytest.mark.parametrize("anomalies", [10, 100])
@pytest.mark.parametrize("auroc", [0.6, 0.95, 0.99])
def test_interval_of_auroc_covers_the_truth(auroc: float, anomalies: int, normals: int) -> None:
    pairs = drawn(one_kind(auroc), normals, anomalies)
    intervals = [auroc_interval(*pair) for pair in pairs]
    assert coverage(intervals, auroc) >= ENOUGH + 0.03
    if auroc < 0.99:
        errors = [(y[:, None] > x).mean() - auroc for x, y in pairs]
        assert mean_width(intervals) < 2 * 2 * 1.96 * np.std(errors)


@pytest.mark.parametrize("anomalies", [10, 30, 100])
def test_interval_of_auroc_covers_the_truth_of_two_kinds(anomalies: int) -> None:
    for auroc in (0.8, 0.95):
        intervals = [auroc_interval(*pair) for pair in drawn(two_kinds(auroc), 200, anomalies)]
        assert coverage(intervals, auroc) >= ENOUGH


def test_perfect_separation_is_not_certainty() -> None:
    low, high = auroc_interval(np.zeros(50), np.ones(10))
    # Of anomalies of which this share is above all normals, ten of ten are once in forty times.
    assert low**10 == pytest.approx(0.025) and high == 1
    assert auroc_interval(np.ones(50), np.zeros(10)) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("normal", "anomalous"), [([0.0], [1.0]), ([0.0, 2.0], [1.0]), ([1, 1], [1, 1])]
)
def test_of_hardly_any_image_an_interval_says_hardly_anything(
    normal: list[float], anomalous: list[float]
) -> None:
    low, high = auroc_interval(normal, anomalous)
    assert 0 <= low <= 0.15 and 0.85 <= high <= 1


def test_interval_of_a_rate_is_exact() -> None:
    for count, total in ((0, 10), (3, 10), (10, 10), (1, 1), (499, 500)):
        known = binomtest(count, total).proportion_ci(method="exact")
        assert rate_interval(count, total) == pytest.approx((known.low, known.high))


def all_figures(normal: Values, anomalous: Values, threshold: float) -> dict[str, float]:
    return {
        **detection_metrics(normal, anomalous, threshold),
        "false_alarm_rate": float((normal > threshold).mean()),
        "detection_rate": float((anomalous > threshold).mean()),
    }


@pytest.mark.parametrize("anomalies", [10, 100])
@pytest.mark.parametrize("kind", [one_kind(0.9), two_kinds(0.9)])
def test_intervals_of_all_figures_cover_the_truth(kind: Kind, anomalies: int) -> None:
    """The truth is what a thousand times as many images give."""
    rng = np.random.default_rng(1)
    truth = all_figures(rng.normal(size=200_000), kind[0](rng, 1000 * anomalies), 1.645)
    intervals = [detection_intervals(*p, 1.645) for p in drawn(kind, 200, anomalies)]
    for name, value in truth.items():
        enough = ENOUGH if name == "auroc" else ENOUGH + 0.03
        assert coverage([each[name] for each in intervals], value) >= enough, name


@pytest.mark.parametrize("kind", [one_kind(0.9), two_kinds(0.9)])
def test_intervals_of_all_figures_tell_something(kind: Kind) -> None:
    """Twice as wide as 95% of the draws spread at the most, and narrower than of ten anomalies."""
    pairs = drawn(kind, 1000, 1000)
    intervals = [detection_intervals(*pair, 1.645) for pair in pairs]
    of_ten = [detection_intervals(normal, odd[:10], 1.645) for normal, odd in pairs]
    figures = [all_figures(*pair, 1.645) for pair in pairs]
    for name in figures[0]:
        low, high = np.quantile([each[name] for each in figures], [0.025, 0.975])
        width = mean_width([each[name] for each in intervals])
        assert 0.9 * (high - low) < width < 2 * (high - low), name
        if name != "false_alarm_rate":
            assert width < 0.6 * mean_width([each[name] for each in of_ten]), name


def test_every_metric_lies_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    for normal, anomalous in (
        (rng.normal(size=30), rng.normal(1, 1, 10)),
        (np.zeros(5), np.ones(3)),
        (np.ones(5), np.zeros(3)),
        (rng.integers(0, 3, 20), rng.integers(1, 4, 7)),
    ):
        intervals = detection_intervals(normal, anomalous, 0.5)
        for name, value in detection_metrics(normal, anomalous, 0.5).items():
            low, high = intervals[name]
            assert 0 <= low <= value <= high <= 1, name


@pytest.mark.parametrize("anomalies", [10, 30, 100])
def test_interval_of_overkill_and_the_bound_of_escapes_hold_at_the_lowest(anomalies: int) -> None:
    kind, intervals, truths, escapes = one_kind(0.95), [], [], []
    for normal, anomalous in drawn(kind, 100, anomalies):
        line = anomalous.min()
        intervals.append(overkill_interval(normal, anomalous))
        truths.append(float(norm.sf(line)))
        escapes.append(1 - float(kind[1](line)))
    held = [low <= true <= high for (low, high), true in zip(intervals, truths, strict=True)]
    assert np.mean(held) >= ENOUGH + 0.03
    assert ENOUGH <= np.mean(np.array(escapes) <= escape_bound(anomalies)) <= 0.99
    assert np.mean(escapes) == pytest.approx(1 / (anomalies + 1), rel=0.25)


def test_a_share_is_bounded_by_counting() -> None:
    # Of 20 lines the third highest is above a tenth of all with a probability of 2.1%.
    low, high = share_above(np.arange(100.0), np.arange(20) * 5.0, [0.0, 0.1, 1.0])
    assert low[0] == 0 and high[2] == 1
    assert high[1] == pytest.approx(rate_interval(100 - 70, 100)[1])
    assert (low <= high).all() and (np.diff(low) >= 0).all() and (np.diff(high) >= 0).all()


PAIR = np.random.default_rng(0).normal(size=300), np.random.default_rng(1).normal(1.0, size=200)


@pytest.mark.parametrize(
    ("curve", "band"), [(roc_on_grid, roc_band), (precision_recall_on_grid, precision_recall_band)]
)
def test_a_curve_lies_in_its_band(
    curve: Callable[[Values, Values], Values],
    band: Callable[[Values, Values], tuple[Values, Values]],
) -> None:
    for normal, anomalous in (PAIR, (PAIR[0][:20], PAIR[1][:10])):
        low, high = band(normal, anomalous)
        assert low.shape == high.shape == GRID.shape
        assert (low >= 0).all() and (high <= 1).all()
        inner = slice(1, None)  # where nothing is found, nothing is right or wrong
        assert (low <= curve(normal, anomalous))[inner].all()
        assert (curve(normal, anomalous) <= high)[inner].all()


@pytest.mark.parametrize("anomalies", [10, 100])
def test_bands_cover_the_truth_at_each_point(anomalies: int) -> None:
    normals, mean, draws = 60, 2.0, 200
    found = norm.sf(norm.isf(GRID), mean)
    false = norm.sf(norm.isf(GRID, mean))
    with np.errstate(invalid="ignore"):
        right = GRID * anomalies / (GRID * anomalies + false * normals)
    rng = np.random.default_rng(0)
    held, width = [], []
    for _ in range(draws):
        pair = rng.normal(size=normals), rng.normal(mean, 1, anomalies)
        bands = (*roc_band(*pair), found), (*precision_recall_band(*pair), right)
        held.append([(low <= true) & (true <= high) for low, high, true in bands])
        width.append([high - low for low, high, _ in bands])
    covered = np.mean(held, axis=0)[:, 1:]
    assert covered.min() >= 0.9 and covered.mean() >= 0.95
    assert np.mean(width) < {10: 0.65, 100: 0.25}[anomalies]
