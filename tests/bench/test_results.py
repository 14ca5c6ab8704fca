import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from anomem_bench.results import Key, Run, append, as_csv, by_setting, merged, read


def test_what_is_appended_is_read_back(runs: list[Run], tmp_path: Path) -> None:
    file = tmp_path / "new" / "runs.jsonl"
    for count, run in enumerate(runs, 1):
        append(file, run)
        assert read(file) == runs[:count]
    assert len(file.read_text().splitlines()) == len(runs)


def test_a_kill_within_a_write_loses_no_finished_run(one_run: Run, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    first, second, third = (replace(one_run, draw=draw, normal="zéro") for draw in range(3))
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


def test_a_last_line_of_zeros_is_torn_too(one_run: Run, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    append(file, one_run)
    file.write_bytes(file.read_bytes() + bytes(40))  # as a file system may leave it
    assert read(file) == [one_run]
    append(file, one_run)
    assert read(file) == [one_run, one_run]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"protocol": "one', "Invalid JSON: .*"),
        ("[]", ".*"),
        ({"measures": {"auroc": "0.9"}}, "measures.auroc: .*"),
        ({"anomaly_classes": "some"}, "anomaly_classes: .*"),
        ({"loss": 1.0}, "loss: .*"),
        ('{"protocol": "one-vs-all"}', "data: .*"),
    ],
)
def test_other_damage_is_told(
    one_run: Run, line: str | dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """A line that is none, or a run with some changes."""
    if isinstance(line, dict):
        line = json.dumps(asdict(one_run) | line)
    file = tmp_path / "runs.jsonl"
    append(file, one_run)
    file.write_text(file.read_text() + line + "\n")
    append(file, one_run)
    with pytest.raises(ValueError, match=rf"^{file}, line 2 is not a run \({reason}\); .* file\.$"):
        read(file)


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"runs\.jsonl does not exist; give a file of results\.$"):
        read(tmp_path / "runs.jsonl")


def test_a_run_that_is_no_number_is_not_written(one_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        append(tmp_path / "runs.jsonl", replace(one_run, measures={"auroc": float("nan")}))
    assert not (tmp_path / "runs.jsonl").exists()


def test_the_key_tells_whether_a_run_was_done(one_run: Run, tmp_path: Path) -> None:
    append(tmp_path / "runs.jsonl", one_run)
    done = {run.key for run in read(tmp_path / "runs.jsonl")}
    assert (
        Key("one-vs-all", "digits", "scratch", "zero", "", 0.05, "all", 0, 300, "cpu", "0badcafe")
        in done
    )
    assert replace(one_run, measures={"auroc": 0.1}, seconds=1.0, commit="other").key in done
    others: list[dict[str, Any]] = [
        {"protocol": "ood"},
        {"data": "letters"},
        {"method": "paper"},
        {"normal": "one"},
        {"against": "svhn"},
        {"gamma": 0.1},
        {"anomaly_classes": "one"},
        {"draw": 1},
        {"device": "cuda"},
        {"config": "600dcafe"},
        {"budget": 10.0},
    ]
    for other in others:
        assert replace(one_run, **other).key not in done


def test_csv_has_a_line_a_run(one_run: Run, runs: list[Run]) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(runs))))
    assert len(rows) == len(runs) and len(as_csv(runs).splitlines()) == len(runs) + 1
    for row, run in zip(rows, runs, strict=True):
        assert set(row) == set(one_run.__dict__) - {"measures"} | set(one_run.measures)
        assert float(row["auroc"]) == run.measures["auroc"] and row["normal"] == run.normal
        assert json.loads(row["versions"]) == run.versions


def test_other_budgets_and_data_are_not_mixed_and_a_repeated_run_replaces_the_first(
    one_run: Run,
) -> None:
    runs = [
        one_run,
        replace(one_run, budget=10.0),
        replace(one_run, data="letters"),
        replace(one_run, measures={"auroc": 0.5}),
    ]
    settings = by_setting(runs)
    assert [(s.data, s.budget) for s in settings] == [
        ("digits", 10),
        ("digits", 300),
        ("letters", 300),
    ]
    (auroc,) = list(settings.values())[1]["auroc"]
    assert auroc == 0.5


def test_runs_of_shards_are_joined_and_the_later_one_of_a_key_counts(
    one_run: Run, tmp_path: Path
) -> None:
    files = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    other, again = replace(one_run, draw=1), replace(one_run, measures={"auroc": 0.5})
    for file, runs in zip(files, ([one_run], [other, again]), strict=True):
        for run in runs:
            append(file, run)
    assert merged(files) == [again, other]


def test_a_test_stands_in_a_column_of_its_own(one_run: Run) -> None:
    assert one_run.column == "zero" and replace(one_run, against="svhn").column == "svhn"
