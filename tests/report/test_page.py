import sys
from pathlib import Path

import pytest
from running import run


def test_where_the_extra_is_missing_it_is_named_before_the_work(
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for library in ("jinja2", "matplotlib"):
        monkeypatch.setitem(sys.modules, library, None)
    for name in [name for name in sys.modules if name.startswith("anomem.report")]:
        monkeypatch.delitem(sys.modules, name)
    for words in (
        ["prototypes", "model", "images", "--out", "page"],
        ["evaluate", "model", "--normal", "a", "--anomalies", "b", "--report", "report.html"],
        ["score", "model", folders["normal"], "--out", "scores.csv", "--heatmaps", "heat"],
        ["explain", "model", folders["normal"], "--out", "why"],
    ):
        assert run(*words) == 1
        told = capsys.readouterr().err
        assert told.endswith(" is not installed; pip install 'anomem[report]'.\n"), words
