import time

import pytest

from anomem.cli.progress import progress_bars, progress_lines


def test_a_log_has_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    report = progress_lines(pause=0.05)
    for done in range(0, 1001):
        report("scoring", done, 1000)
        time.sleep(0.0002)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 25
    assert all(line.startswith("scoring: ") and " of 1,000, 0:00:0" in line for line in lines)
    assert lines[0].endswith(" left")


def test_short_work_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as report:
        for done in range(100):
            report("stage 1", done, 100)
    assert capsys.readouterr().err == ""


def test_a_stage_tells_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    report = progress_lines(pause=0.0)
    report("scoring", 0, 40)
    time.sleep(1.0)
    report("scoring", 10, 40)
    report("scoring", 40, 40)
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 0 of 40, 0:00:00",
        "scoring: 10 of 40, 0:00:01, 0:00:03 left",
        "scoring: 40 of 40, 0:00:01",
    ]
