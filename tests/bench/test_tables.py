import csv
import io
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from anomem_bench.results import Run
from anomem_bench.tables import csv_table, markdown_table


def slow_cell(runs: list[Run], **wanted: object) -> str:
    """Mean ± std in % of the runs with these attributes, empty if there are none."""
    values = [
        100 * run.measures["auroc"]
        for run in runs
        if all(getattr(run, k) == v for k, v in wanted.items())
    ]
    if not values:
        return ""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    std = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {std:.1f}"


def mean_in_percent(runs: list[Run], measure: str = "auroc") -> float:
    return 100 * sum(run.measures[measure] for run in runs) / len(runs)


def slow_rank(runs: list[Run], method: str) -> float:
    """Mean over classes and draws of the place among scratch and peer, where both have a run."""
    auroc = {(run.method, run.normal, run.draw): run.measures["auroc"] for run in runs}
    ranks = []
    for (name, normal, draw), own in auroc.items():
        other = auroc.get(("peer" if method == "scratch" else "scratch", normal, draw))
        if name == method and other is not None:
            ranks.append(1 + (other > own) + 0.5 * (other == own))
    return sum(ranks) / len(ranks)


def parsed(table: str) -> dict[str, dict[str, str]]:
    """Cells by method and column, in the order of the table."""
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    head, _, *rows = [line for line in lines if line]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def without_bold(table: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {m: {k: v.replace("*", "") for k, v in row.items()} for m, row in table.items()}


@pytest.mark.parametrize("gamma", [0.0, 0.05])
def test_the_table_is_what_a_slow_calculation_gives(runs: list[Run], gamma: float) -> None:
    runs = [run for run in runs if run.gamma == gamma]
    table = without_bold(parsed(markdown_table(runs)))
    for method, row in table.items():
        assert list(row) == ["one", "two", "zero", "mean", "rank", "1/4", "1/2"]
        for normal in ("zero", "one", "two"):
            assert row[normal] == slow_cell(runs, method=method, normal=normal)
    for method in ("scratch", "peer"):
        own = [run for run in runs if run.method == method]
        draws = sorted({run.draw for run in own})
        of_draw = [mean_in_percent([r for r in own if r.draw == draw]) for draw in draws]
        mean, *std = table[method]["mean"].split(" ± ")
        assert mean == f"{np.mean(of_draw):.1f}"
        assert std == ([f"{np.std(of_draw, ddof=1):.1f}"] if len(draws) > 1 else [])
        assert table[method]["rank"] == f"{slow_rank(runs, method):.1f}"
        assert (
            table[method]["1/4"]
            == f"{100 * np.mean([run.measures['auroc_quarter'] for run in own]):.1f}"
        )
        assert (
            table[method]["1/2"]
            == f"{100 * np.mean([run.measures['auroc_half'] for run in own]):.1f}"
        )
    assert [table["late"][name] for name in ("two", "mean", "rank", "1/4", "1/2")] == [""] * 5


def test_rows_are_sorted_by_mean_and_the_best_of_each_column_is_bold(runs: list[Run]) -> None:
    for gamma in (0.0, 0.05):
        table = parsed(markdown_table([run for run in runs if run.gamma == gamma]))
        means = [float(row["mean"].split(" ")[0].strip("*")) for row in list(table.values())[:2]]
        assert means == sorted(means, reverse=True) and list(table)[2] == "late"
        for column in ("one", "two", "zero", "mean", "rank", "1/4", "1/2"):
            shown = {m: row[column].split(" ")[0] for m, row in table.items() if row[column]}
            values = {m: float(text.strip("*")) for m, text in shown.items()}
            best = min(values.values()) if column == "rank" else max(values.values())
            assert all(text.startswith("**") == (values[m] == best) for m, text in shown.items()), (
                column
            )


def test_equals_share_their_rank_and_are_both_bold(one_run: Run) -> None:
    table = parsed(
        markdown_table([one_run, replace(one_run, method="peer", measures={"auroc": 0.95001})])
    )
    assert table["scratch"]["zero"] == table["peer"]["zero"] == "**95.0**"
    table = parsed(markdown_table([one_run, replace(one_run, method="peer")]))
    assert table["scratch"]["rank"] == table["peer"]["rank"] == "**1.5**"


def test_a_table_for_each_setting_says_what_it_shows(runs: list[Run]) -> None:
    of_one = [replace(run, anomaly_classes="one") for run in runs]
    text = markdown_table([*runs, *of_one])
    captions = [line for line in text.splitlines() if line.startswith("**")]
    assert [caption.split(".** ")[0] for caption in captions] == [
        "**digits, one-vs-all, gamma 0, no labelled anomaly",
        "**digits, one-vs-all, gamma 0.05, anomalies of all other classes",
        "**digits, one-vs-all, gamma 0.05, anomalies of one other class",
    ]
    assert "(n = 1 to 2), 300 s a fit" in captions[0] and "(n = 2)" in captions[1]


def test_published_figures_stand_beside_the_mean(one_run: Run) -> None:
    run = replace(one_run, data="cifar10", gamma=0.0, measures={"auroc": 0.932})
    text = markdown_table([run, replace(run, method="mhrot"), replace(run, method="unheard of")])
    table = parsed(text)
    assert table["scratch"]["fewer errors"] == f"{100 * (93.2 - 91.5) / (100 - 91.5):.1f}"
    assert table["mhrot"]["fewer errors"] == f"{100 * (93.2 - 89.5) / (100 - 89.5):.1f}"
    assert table["unheard of"]["fewer errors"] == ""
    assert {k: v for k, v in table["*GOAD, published*"].items() if v} == {"mean": "88.2"}
    assert "Published: in the paper" in text
    assert "ublished" not in markdown_table([one_run])


def test_what_methods_are_given_is_told_where_one_is_given_something(one_run: Run) -> None:
    run = replace(one_run, protocol="ood", data="cifar10", gamma=0.0, against="svhn")
    runs = [replace(run, method=name) for name in ("scratch", "fs", "energy-oe", "neighbours")]
    table = parsed(markdown_table(runs))
    given = {method: row["given"] for method, row in table.items() if row["given"]}
    assert given == {
        "fs": "class labels",
        "energy-oe": "class labels, outliers",
        "neighbours": "pretrained weights",
        "*FS, published*": "class labels",
        "*Energy, published*": "class labels, outliers",
        "*PEBAL, published*": "class labels, outliers",
    }
    assert "given" not in parsed(markdown_table([one_run]))["scratch"]


def test_published_figures_of_tests_stand_in_their_columns(one_run: Run) -> None:
    run = replace(one_run, protocol="ood", data="cifar10", gamma=0.0, measures={"auroc": 0.99})
    runs = [replace(run, against=name) for name in ("svhn", "svhn, re-encoded")]
    table = parsed(markdown_table(runs))
    assert table["*CSI, published*"]["svhn"] == "99.8"
    assert table["*CSI, published*"]["svhn, re-encoded"] == table["*CSI, published*"]["mean"] == ""
    assert table["scratch"]["fewer errors"] == f"{100 * (99 - 99.2) / (100 - 99.2):.1f}"


def test_all_kinds_together_are_not_in_the_mean_over_kinds(one_run: Run) -> None:
    runs = [
        replace(one_run, against=name, measures={"auroc": value})
        for name, value in (("print", 0.8), ("mask", 0.9), ("all kinds", 0.6))
    ]
    table = parsed(markdown_table(runs))
    assert table["scratch"]["all kinds"] == "**60.0**" and table["scratch"]["mean"] == "**85.0**"


def test_a_set_that_is_tested_re_encoded_too_counts_once(one_run: Run) -> None:
    values = {"svhn": 0.9, "svhn, re-encoded": 0.8, "lsun": 0.6, "lsun, re-encoded": 0.7}
    runs = [
        replace(one_run, against=name, measures={"auroc": value}, draw=draw, method=method)
        for name, value in values.items()
        for draw in range(3)
        for method in ("scratch", "mhrot", "goad")
    ]
    text = markdown_table(runs)
    assert parsed(text.split("\n\n**Which")[0])["scratch"]["mean"].startswith("**75.0**")
    assert "in the 6 cells" in text


def test_other_measures_follow_and_of_errors_the_least_is_bold(one_run: Run) -> None:
    measures = {"auroc": 0.9, "fpr95": 0.3, "aupr_in": 0.8}
    run = replace(one_run, against="svhn", measures=measures)
    other = replace(run, method="peer", measures=measures | {"fpr95": 0.2, "aupr_in": 0.7})
    text = markdown_table([run, other])
    first, positive, errors = (parsed(part) for part in text.split("\n\n**"))
    assert list(first["scratch"]) == ["svhn", "mean", "rank"]
    assert "AUPR, normals positive in %" in text and "False positive rate at 95%" in text
    assert (positive["scratch"]["svhn"], positive["peer"]["svhn"]) == ("**80.0**", "70.0")
    assert (errors["scratch"]["mean"], errors["peer"]["mean"]) == ("30.0", "**20.0**")
    assert list(errors) == ["peer", "scratch"]


def test_accuracy_takes_the_place_of_auroc(one_run: Run) -> None:
    text = markdown_table([replace(one_run, measures={"accuracy": 0.42, "accuracy_half": 0.4})])
    assert "Accuracy in %" in text and parsed(text)["scratch"]["mean"] == "**42.0**"
    assert parsed(text)["scratch"]["1/2"] == "**40.0**"


def test_csv_has_a_line_for_each_figure(runs: list[Run]) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_table(runs))))
    (mean,) = [
        line for line in lines
        if (line["method"], line["gamma"], line["column"]) == ("scratch", "0.0", "mean")
    ]  # fmt: skip
    own = [run for run in runs if run.method == "scratch" and run.gamma == 0]
    assert float(mean["value"]) == pytest.approx(mean_in_percent(own), abs=1e-3)
    assert {line["column"] for line in lines} >= {"zero", "one", "two", "mean", "rank", "1/4"}
