"""The engine ray for real: clusters of this machine, killed workers, calls that go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from running import run

from anomem import load
from anomem.bulk.partitions import Partitions, plan, score_shard
from anomem.bulk.score_table import score_table
from anomem.images.open import open_images

pytest.importorskip("ray.data", reason="needs pip install 'anomem[ray]'")
pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="finds workers in /proc")

_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
_ENVIRONMENT.pop("RAY_ADDRESS", None)

SMALL_SHARDS = """
import sys, time
from pathlib import Path
from anomem.bulk.partitions import Partitions, plan
from anomem.images.open import open_images
from anomem.bulk.ray_cluster import score_shards
from anomem.bulk.score_table import ScoreCounts

images, model, out, spoilt = *map(Path, sys.argv[1:4]), sys.argv[4:]
partitions = Partitions(str(out))
partitions.claim(model, "0.05")
shards = plan(open_images(images), partitions, shard_size=64)
for file in spoilt:
    Path(file).write_bytes(bytes(Path(file).stat().st_size))
try:
    print(sum(score_shards(shards, model, partitions, rule="0.05", device="cpu"), ScoreCounts()))
except RuntimeError as error:
    sys.exit(str(error))
"""


def anomem(*words: str | Path, code: str = "from anomem.cli.app import main; main()") -> list[str]:
    return [sys.executable, "-c", code, *map(str, words)]


def ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, timeout=120)


def check_scores(out: Path, model: Path, images: Path) -> None:
    """Each image once, with the scores of the engine local; only the batches differ."""
    theirs = pa.concat_tables(table for _, table in Partitions(str(out)).read()).sort_by("path")
    mine = score_table(load(model, device="cpu"), open_images(images)).sort_by("path")
    for column in ("path", "prediction", "error"):
        assert theirs[column] == mine[column]
    for column in ("score", "scale_1", "p_value"):
        np.testing.assert_allclose(theirs[column], mine[column], rtol=0, atol=1e-5)


def workers(parent: int) -> list[int]:
    """Processes of Ray below another that have begun an actor's work."""
    parents, found = {}, []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parents[int(status.parent.name)] = (
                int(status.parent.name),
                int(status.read_text().rpartition(")")[2].split()[1]),
            )
            if status.with_name("cmdline").read_bytes().startswith(b"ray::MapWorker"):
                found.append(pid)
        except OSError:  # it has just ended
            continue

    def below(pid: int) -> bool:
        return pid == parent or (pid in parents and below(parents[pid]))

    return [pid for pid in found if below(pid)]


def wait_for(moment: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < end and not moment():
        time.sleep(0.001)
    assert process.poll() is None, process.communicate()


@pytest.fixture(scope="module")
def shards(digits_as_cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,400 digits in two Parquet files."""
    folder = tmp_path_factory.mktemp("shards")
    table = parquet.read_table(digits_as_cifar10 / "train.parquet")
    for name in ("a", "b"):
        parquet.write_table(table, folder / f"{name}.parquet", row_group_size=100)
    return folder


def test_shards_of_a_killed_worker_are_redone(
    model_folder: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores"
    with subprocess.Popen(
        anomem(shards, model_folder, out, code=SMALL_SHARDS),
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: len(list(out.glob("*.parquet"))) > 3, process)
        (worker,) = workers(process.pid)
        os.kill(worker, signal.SIGKILL)
        told, noise = process.communicate(timeout=120)
    assert process.returncode == 0, noise
    assert told.startswith("ScoreCounts(images=2400, errors=0, ")
    assert noise.count("A worker died") == 1 and "Traceback" not in noise
    check_scores(out, model_folder, shards)


def test_a_second_call_scores_what_is_new(
    model_folder: Path,
    folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images, out = tmp_path / "images", tmp_path / "scores"
    shutil.copytree(folders["normal"], images)
    partitions = Partitions(str(out))
    partitions.claim(model_folder, "0.05")
    (first,) = plan(open_images(images), partitions)
    score_shard(load(model_folder, device="cpu"), first, partitions, "0.05")

    (images / "broken.png").write_bytes(b"no image")
    shutil.copy(images / "lot0-000.png", images / "new.png")
    words = ["score", str(model_folder), str(images), "--out", str(out)]
    words += ["--engine", "ray", "--json"]
    second = ended(anomem(*words))
    assert second.returncode == 3, second.stderr
    assert second.stderr.splitlines()[-1] == "anomem: 1 images cannot be read; see their rows."
    assert len(second.stderr.splitlines()) == 2, second.stderr
    told = json.loads(second.stdout.splitlines()[-1])
    assert (told["images"], told["errors"], told["finished_before"]) == (2, 1, 1)
    check_scores(out, model_folder, images)

    assert run(*words) == 0  # nothing is left, so that no cluster is started
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 0
    assert run(*words, "--rule", "0.1") == 1
    assert "holds scores by another model or rule; give another folder." in capsys.readouterr().err


@pytest.mark.slow
def test_a_shard_that_fails_ends_all_in_one_sentence(
    model_folder: Path, shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    out, spoilt = tmp_path / "scores", tmp_path / "shards" / "b.parquet"
    done = ended(anomem(spoilt.parent, model_folder, out, spoilt, code=SMALL_SHARDS))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{spoilt} cannot be read (")
    assert done.stderr.endswith("What is finished stays; mend that, call again.\n")
    assert done.stderr.count("\n") == 1
    assert 0 < len(Partitions(str(out)).names()) <= 24


def test_what_ray_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", "model", "images", "--engine", "ray", "--out"]

    def error_of(*more: str) -> str:
        assert run(*words, *more) == 1
        return capsys.readouterr().err

    heat = error_of("scores", "--heatmaps", "heat")
    assert heat == "anomem: the engine ray writes no heat maps; leave out --heatmaps.\n"
    file = error_of("scores.csv")
    assert file == "anomem: scores.csv is a file; give a folder with the engine ray.\n"
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "anomem.bulk.ray_cluster", raising=False)
    assert error_of("scores") == "anomem: ray is not installed; pip install 'anomem[ray]'.\n"
