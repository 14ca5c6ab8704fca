"""The engine ray for real: clusters of this machine, killed workers, calls that go on."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from running import Command, run

from anomem import load
from anomem.bulk.partitions import Partitions, plan, score_shard
from anomem.bulk.score_table import score_table
from anomem.images.open import open_images

pytest.importorskip("ray.data", reason="needs pip install 'anomem[ray]'")
pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="finds workers in /proc")

_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
_ENVIRONMENT.pop("RAY_ADDRESS", None)

FAILING_SHARD = """
import sys
from pathlib import Path
from anomem.bulk.partitions import Partitions, plan
from anomem.images.open import open_images
from anomem.bulk.ray_cluster import score_shards

images, model, out, spoilt = map(Path, sys.argv[1:])
partitions = Partitions(str(out))
partitions.claim(model, "0.05")
shards = plan(open_images(images), partitions)
spoilt.write_bytes(bytes(spoilt.stat().st_size))
try:
    print(list(score_shards(shards, model, partitions, rule="0.05", device="cpu")))
except RuntimeError as error:
    sys.exit(str(error))
"""
OWN_CLUSTER = {"RAY_ADDRESS": "local"}


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


@pytest.fixture
def shards(digits_as_cifar10: Path, tmp_path: Path) -> Path:
    """1,200 digits in twelve Parquet files, the row 7 of the first broken."""
    folder = tmp_path / "shards"
    folder.mkdir()
    images = parquet.read_table(digits_as_cifar10 / "train.parquet")["image"].to_pylist()
    images[7]["bytes"] = b"no image"
    for part in range(12):
        table = pa.table({"image": images[100 * part : 100 * (part + 1)]})
        parquet.write_table(table, folder / f"{part:02}.parquet")
    return folder


def test_a_call_goes_on_after_an_earlier_one_and_after_a_killed_worker(
    model_folder: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores"
    partitions = Partitions(str(out))
    partitions.claim(model_folder, "0.05")
    *_, last = plan(open_images(shards), partitions)
    score_shard(load(model_folder, device="cpu"), last, partitions, "0.05")

    words = ["score", str(model_folder), str(shards), "--out", str(out)]
    words += ["--engine", "ray", "--device", "cpu", "--json"]
    call = Command(*words, **OWN_CLUSTER)
    call.wait_for(lambda: len(partitions.names()) > 3, seconds=300, every=0.02)
    (worker,) = workers(call.pid)
    os.kill(worker, signal.SIGKILL)
    assert call.ended(300) == 3, call.err
    noise = call.err.decode().splitlines()
    assert noise[-1] == "anomem: 1 image cannot be read; see the rows."
    assert call.err.count(b"A worker died") == 1 and b"Traceback" not in call.err
    told = json.loads(call.out.splitlines()[-1])
    assert (told["images"], told["errors"], told["finished_before"]) == (1100, 1, 1)
    check_scores(out, model_folder, shards)

    assert run(*words) == 0  # nothing is left, so that no cluster is started
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 0
    assert run(*words, "--rule", "0.1") == 1
    assert "holds scores by another model or rule; give another folder." in capsys.readouterr().err


@pytest.mark.slow
def test_a_shard_that_fails_ends_all_in_one_sentence(
    model_folder: Path, shards: Path, tmp_path: Path
) -> None:
    out, spoilt = tmp_path / "scores", shards / "11.parquet"
    call = Command(shards, model_folder, out, spoilt, code=FAILING_SHARD, **OWN_CLUSTER)
    assert call.ended() == 1
    told = call.err.decode()
    assert told.startswith(f"{spoilt} cannot be read (")
    assert told.endswith("What is finished stays; mend that, call again.\n")
    assert told.count("\n") == 1
    assert 0 < len(Partitions(str(out)).names()) <= 11


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
