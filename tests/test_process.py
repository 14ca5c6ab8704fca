"""The command line in a process of its own: what it loads, and what it tells the terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import Command

from anomem import AnoMem, Config

HEAVY = (
    "{'torch', 'torchvision', 'timm', 'sklearn', 'skimage', 'matplotlib', 'pyarrow', 'tifffile'}"
)


def shell(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("words", ["--help", "--version", "fit --help", "score --help"])
def test_help_loads_nothing_heavy(words: str) -> None:
    code = f"""
import sys
from anomem.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)
"""
    done = shell(code, *words.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_info_reads_a_model_without_anything_heavy(model: AnoMem, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    code = f"""
import sys
from anomem.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)
"""
    done = shell(code, "info", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "precision: None" in done.stdout


def test_import_loads_nothing_heavy_and_names_everything() -> None:
    code = f"""
import sys, anomem
assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)
assert set(anomem.__all__) < set(dir(anomem))
for name in anomem.__all__:
    assert getattr(anomem, name).__name__ == name
"""
    done = shell(code)
    assert done.returncode == 0, done.stderr


def test_fit_in_a_shell(folders: dict[str, Path], tmp_path: Path) -> None:
    code = "from anomem.cli.app import main; main()"
    few = ("--images.size", 16, 16, "--stage1.min-steps", 3, "--stage1.max-steps", 3)
    words = (folders["train"], "--out", tmp_path / "model", *few, "--device", "cpu", "--json")
    done = shell(code, "fit", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["normals"] == 101
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == [tmp_path / "model"]


def test_warnings_are_one_line_too(folders: dict[str, Path], hasty: Config, tmp_path: Path) -> None:
    AnoMem(hasty, device="cpu").fit(folders["train"] / "lot0-00*.png").save(tmp_path / "model")
    words = ("score", tmp_path / "model", folders["normal"], "--out", tmp_path / "scores.csv")
    done = Command(*words)
    assert done.ended() == 0
    lines = done.err.decode().splitlines()
    told = [line for line in lines if line.strip() and "━" not in line]
    assert len(told) == 1
    assert told[0].startswith("anomem: alpha=0.05 needs 19 held-out normals and there are 5")
