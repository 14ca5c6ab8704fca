import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, rankdata, studentized_range, wilcoxon

from anomem_bench.results import Run, read
from anomem_bench.significance import holm, significance
from anomem_bench.tables import markdown_table, significance_table

# Table 6 of Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets" (JMLR 2006).
DEMSAR = pd.DataFrame(
    {
        "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661,
                 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957],
        "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668,
                   0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978],
        "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609,
                    0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946],
        "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685,
                      0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970],
    }
).T  # fmt: skip


@pytest.fixture
def committed() -> list[Run]:
    """Ten methods on three classes of CIFAR-10 in two draws, and others at gamma above 0."""
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    return read(results / "one-vs-all" / "runs.jsonl")


def test_the_published_example_comes_out() -> None:
    sure = significance(DEMSAR)
    assert sure is not None and sure.cells == 14
    ranks = {name: round(rank, 3) for name, rank in sure.methods["rank"].items()}
    assert ranks == {"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}
    assert round(sure.critical_difference, 2) == 1.25
    # The published statistic is not corrected for ties, and scipy's is.
    counts = [np.unique(own, return_counts=True)[1] for own in DEMSAR.to_numpy().T]
    tied = sum((count**3 - count).sum() for count in counts)
    statistic = chi2.isf(sure.friedman, 3) * (1 - tied / (14 * 4 * (4**2 - 1)))
    assert statistic == pytest.approx(9.28, abs=0.01)


def test_measured_runs_are_compared_as_a_slow_loop_does(committed: list[Run]) -> None:
    runs = [run for run in committed if run.gamma == 0]
    methods = sorted({run.method for run in runs})
    cells = sorted({(run.normal, run.draw) for run in runs})
    figure = {(run.method, run.normal, run.draw): run.measures["auroc"] for run in runs}
    ranks: dict[str, list[float]] = {method: [] for method in methods}
    for cell in cells:
        places = rankdata([-figure[method, *cell] for method in methods])
        for method, place in zip(methods, places, strict=True):
            ranks[method].append(place)
    k, n = len(methods), len(cells)
    mean = {method: sum(places) / n for method, places in ranks.items()}
    statistic = 12 * n / (k * (k + 1)) * sum((r - (k + 1) / 2) ** 2 for r in mean.values())
    best = min(mean, key=lambda method: mean[method])
    p = {
        method: wilcoxon([figure[best, *c] - figure[method, *c] for c in cells]).pvalue
        for method in methods
        if method != best
    }
    rows = list(csv.DictReader(io.StringIO(significance_table(runs))))
    assert [row["method"] for row in rows] == sorted(methods, key=lambda method: mean[method])
    for row in rows:
        assert float(row["rank"]) == pytest.approx(mean[row["method"]])
        assert float(row["friedman"]) == pytest.approx(chi2.sf(statistic, k - 1))
        q = studentized_range.ppf(0.95, k, 1e6) / 2**0.5
        assert float(row["critical_difference"]) == pytest.approx(
            q * (k * (k + 1) / 6 / n) ** 0.5, rel=1e-4
        )
    assert {row["method"]: float(row["p"]) for row in rows if row["p"]} == pytest.approx(
        slow_holm(p)
    )


def slow_holm(p: dict[str, float]) -> dict[str, float]:
    corrected: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(1.0, (len(p) - place) * p[name]))
        corrected[name] = highest
    return corrected


def test_corrected_probabilities_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 9):
        p = {str(index): float(value) for index, value in enumerate(rng.uniform(0, 0.3, count))}
        assert holm(pd.Series(p)).to_dict() == pytest.approx(slow_holm(p))


def test_the_section_below_a_table_says_which_are_ahead(committed: list[Run]) -> None:
    text = markdown_table(committed)
    first, _, second = text.partition("**Which are ahead?** ")[2].partition("**Which are ahead?** ")
    assert first.startswith("10 methods in the 6 cells (columns and draws)")
    assert "the critical difference, 5.53 (Nemenyi, 0.05)" in first
    assert "of so few cells it is never below 0.28, so that it proves nothing" in first
    assert "| default-kmeans | 1.83 |  |  |\n| default | 2.00 | not told | 0.84 |" in first
    assert "| deepsad | 9.17 | yes | 0.28 |" in first
    assert second.startswith("5 methods") and "**Which are ahead?**" not in second


def test_two_methods_or_four_cells_say_nothing(committed: list[Run]) -> None:
    runs = [run for run in committed if run.gamma == 0]
    few = [run for run in runs if (run.normal, run.draw) not in {("cat", 0), ("horse", 1)}]
    two = [run for run in runs if run.method in ("default", "csi")]
    for unknown in (few, two):
        assert significance_table(unknown) == "" and "ahead" not in markdown_table(unknown)


def test_equal_methods_are_not_told_apart(one_run: Run) -> None:
    runs = [
        replace(one_run, method=method, draw=draw)
        for method in ("scratch", "peer", "twin")
        for draw in range(5)
    ]
    rows = list(csv.DictReader(io.StringIO(significance_table(runs))))
    assert [(row["rank"], row["friedman"]) for row in rows] == [("2.0", "1.0")] * 3
    assert [row["p"] for row in rows] == ["", "1.0", "1.0"]
