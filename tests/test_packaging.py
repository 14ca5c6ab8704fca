"""What the wheel and the source distribution hold, built as they are released."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_LARGEST = 300_000
"""Bytes of a file of the source distribution: pictures are the largest."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both."""
    pytest.importorskip("hatchling", reason="needs hatchling")
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def tracked(*folders: str) -> set[str]:
    """Files that git keeps or would keep, as ``src/anomem/cli/app.py``."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs the repository")
    return set(done.stdout.splitlines())


def test_the_wheel_holds_both_packages_whole(built: Path) -> None:
    """Also templates, pages, tables and the mark that they are typed."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(name.removeprefix("src/") for name in tracked("src"))
    assert {"anomem/py.typed", "anomem_bench/py.typed", "anomem_bench/published.csv"} <= {*names}


def test_the_source_distribution_holds_nothing_large_or_private(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as opened:
        files = {file.name.partition("/")[2]: file.size for file in opened if file.isfile()}
    assert files.keys() - {"PKG-INFO"} <= tracked()
    assert max(files.values()) < _LARGEST
    assert not [name for name in files if re.search(r"\.(pem|key|env|npz|pt|safetensors)$", name)]
