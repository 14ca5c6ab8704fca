import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomem.evaluation.results import (
    Cells,
    Key,
    Run,
    append,
    as_csv,
    by_setting,
    mean_auroc,
    read,
)
from anomem.evaluation.tables import markdown_table

RUN = Run(
    protocol="one-vs-all",
    data="digits",
    method="default",
    normal="zero",
    gamma=0.05,
    anomaly_classes="all",
    draw=0,
    budget=300.0,
    device="cpu",
    config="0badcafe",
    seconds=298.7,
    steps=3375,
    auroc=0.95,
    auroc_half=0.9,
    auroc_quarter=0.8,
    test_images=797,
    threads=1,
    commit="0123abc",
    versions={"python": "3.11.9", "torch": "2.6.0"},
)


@pytest.fixture
def runs() -> list[Run]:
    """Three methods on three classes in two draws, two gammas; "late" lacks one class."""
    rng = np.random.default_rng(0)
    return [
        replace(
            RUN,
            method=method,
            normal=normal,
            gamma=gamma,
            draw=draw,
            auroc=round(float(rng.uniform(0.6, 0.99)), 2),
            auroc_half=float(rng.uniform(0.6, 0.9)),
            auroc_quarter=float(rng.uniform(0.5, 0.8)),
        )
        for gamma in (0.05, 0.0)
        for method in ("default", "peer", "late")
        for normal in ("zero", "one", "two")
        for draw in (0, 1)
        if (method, normal) != ("late", "two") and (method, draw, gamma) != ("peer", 1, 0.0)
    ]


def test_what_is_appended_is_read_back(runs: list[Run], tmp_path: Path) -> None:
    file = tmp_path / "new" / "runs.jsonl"
    for count, run in enumerate(runs, 1):
        append(file, run)
        assert read(file) == runs[:count]
    assert len(file.read_text().splitlines()) == len(runs)


def test_a_kill_within_a_write_loses_no_finished_run(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    first, second, third = (replace(RUN, draw=draw, normal="zéro") for draw in range(3))
    append(file, first)
    start = file.stat().st_size
    append(file, second)
    content = file.read_bytes()
    whole = len(content)
    for size in (*range(start, whole - 2, 9), whole - 2, whole - 1, whole):
        file.write_bytes(content[:size])
        finished = [first, second] if size >= whole - 1 else [first]
        assert read(file) == finished
        append(file, third)
        assert read(file) == [*finished, third]


def test_a_last_line_of_zeros_is_torn_too(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    append(file, RUN)
    file.write_bytes(file.read_bytes() + bytes(40))  # as a file system may leave it
    assert read(file) == [RUN]
    append(file, RUN)
    assert read(file) == [RUN, RUN]


def damaged(**changes: Any) -> str:
    return json.dumps(json.loads(json.dumps(RUN.__dict__)) | changes)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"protocol": "one', "Invalid JSON: .*"),
        ("[]", ".*"),
        (damaged(auroc="0.9"), "auroc: .*"),
        (damaged(anomaly_classes="some"), "anomaly_classes: .*"),
        (damaged(loss=1.0), "loss: .*"),
        ('{"protocol": "one-vs-all"}', "data: .*"),
    ],
)
def test_other_damage_is_told(line: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    append(file, RUN)
    file.write_text(file.read_text() + line + "\n")
    append(file, RUN)
    with pytest.raises(ValueError, match=rf"^{file}, line 2 is not a run \({reason}\); .* file\.$"):
        read(file)


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"runs\.jsonl does not exist; give a file of results\.$"):
        read(tmp_path / "runs.jsonl")


def test_a_run_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        append(tmp_path / "runs.jsonl", replace(RUN, auroc=float("nan")))
    assert not (tmp_path / "runs.jsonl").exists()


def test_the_key_tells_whether_a_run_was_done(tmp_path: Path) -> None:
    append(tmp_path / "runs.jsonl", RUN)
    done = {run.key for run in read(tmp_path / "runs.jsonl")}
    assert (
        Key("one-vs-all", "digits", "default", "zero", 0.05, "all", 0, 300, "cpu", "0badcafe")
        in done
    )
    assert replace(RUN, auroc=0.1, seconds=1.0, commit="other").key in done
    others: list[dict[str, Any]] = [
        {"protocol": "ood"},
        {"data": "letters"},
        {"method": "paper"},
        {"normal": "one"},
        {"gamma": 0.1},
        {"anomaly_classes": "one"},
        {"draw": 1},
        {"device": "cuda"},
        {"config": "600dcafe"},
        {"budget": 10.0},
    ]
    for other in others:
        assert replace(RUN, **other).key not in done


def test_csv_has_a_line_a_run(runs: list[Run]) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(runs))))
    assert len(rows) == len(runs) and len(as_csv(runs).splitlines()) == len(runs) + 1
    for row, run in zip(rows, runs, strict=True):
        assert list(row) == list(RUN.__dict__)
        assert float(row["auroc"]) == run.auroc and row["normal"] == run.normal
        assert json.loads(row["versions"]) == run.versions


def slow_cell(runs: list[Run], **wanted: object) -> str:
    """Mean ± std in % of the runs with these attributes, empty if there are none."""
    values = [
        100 * run.auroc for run in runs if all(getattr(run, k) == v for k, v in wanted.items())
    ]
    if not values:
        return ""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    std = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {std:.1f}"


def slow_rank(runs: list[Run], method: str) -> float:
    """Mean over classes and draws of the place among default and peer, where both have a run."""
    auroc = {(run.method, run.normal, run.draw): run.auroc for run in runs}
    ranks = []
    for (name, normal, draw), own in auroc.items():
        other = auroc.get(("peer" if method == "default" else "default", normal, draw))
        if name == method and other is not None:
            ranks.append(1 + (other > own) + 0.5 * (other == own))
    return sum(ranks) / len(ranks)


def parsed(table: str) -> dict[str, dict[str, str]]:
    """Cells by method and column, in the order of the table."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
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
    for method in ("default", "peer"):
        own = [run for run in runs if run.method == method]
        draws = sorted({run.draw for run in own})
        of_draw = [np.mean([run.auroc for run in own if run.draw == draw]) for draw in draws]
        mean, *std = table[method]["mean"].split(" ± ")
        assert mean == f"{100 * np.mean(of_draw):.1f}"
        assert std == ([f"{100 * np.std(of_draw, ddof=1):.1f}"] if len(draws) > 1 else [])
        assert table[method]["rank"] == f"{slow_rank(runs, method):.1f}"
        assert table[method]["1/4"] == f"{100 * np.mean([run.auroc_quarter for run in own]):.1f}"
        assert table[method]["1/2"] == f"{100 * np.mean([run.auroc_half for run in own]):.1f}"
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


def test_equals_share_their_rank_and_are_both_bold() -> None:
    table = parsed(markdown_table([RUN, replace(RUN, method="peer", auroc=0.95001)]))
    assert table["default"]["zero"] == table["peer"]["zero"] == "**95.0**"
    table = parsed(markdown_table([RUN, replace(RUN, method="peer")]))
    assert table["default"]["rank"] == table["peer"]["rank"] == "**1.5**"


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


def test_other_budgets_and_data_are_not_mixed_and_a_repeated_run_replaces_the_first() -> None:
    runs = [RUN, replace(RUN, budget=10.0), replace(RUN, data="letters"), replace(RUN, auroc=0.5)]
    settings = by_setting(runs)
    assert [(s.data, s.budget) for s in settings] == [
        ("digits", 10),
        ("digits", 300),
        ("letters", 300),
    ]
    assert all(list(methods) == ["default"] for methods in settings.values())
    cells: Cells = list(settings.values())[1]["default"]
    assert mean_auroc(cells, ["zero"]) == (0.5, None)
