import json
from pathlib import Path

import pytest

from anomem.cli import main


def bench(words: str, path: Path, out: Path) -> int:
    with pytest.raises(SystemExit) as end:
        main(["bench", "one-vs-all", "--path", str(path), "--out", str(out), *words.split()])
    return int(end.value.code or 0)


def test_bench_writes_runs_tables_and_figures(
    digits_as_cifar10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--classes airplane --methods default,deepsad --budget-seconds 1.5 --json"
    assert bench(words, digits_as_cifar10, tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[-1]) == {"out": str(tmp_path / "out"), "runs": 2}
    assert "airplane, gamma 0 (all), draw 0: deepsad" in shown.err
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in shown.out and "| default |" in table
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {
        "runs.jsonl", "runs.csv", "table.md", "auroc-gamma.png", "auroc-seconds.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--gammas 0,1", "gammas is '0,1'; give numbers from 0 to below 1"),
        ("--gammas few", "gammas is 'few'"),
        ("--draws 0", "must be above 0"),
        ("--contamination 1", "contamination is 1.0"),
        ("--methods magic", "there is no method 'magic'"),
        ("--data mars", "'mars' is no data set known by name"),
    ],
)
def test_wrong_words_are_told_in_a_sentence(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(words, tmp_path, tmp_path / "out") == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [["bench"], ["bench", "--help"]])
def test_protocols_are_listed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert "bench one-vs-all" in capsys.readouterr().out
