"""A fit shared by processes: real commands, a real kill, two nodes on one machine."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from running import SAVING_OFTEN, Command, run

from anomem.detector.estimator import load_trained
from anomem.runtime.processes import join_processes, leads, together

_SCRIPT = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
"""Of a command whose second process runs the same script."""
# Batch norm would see other images in each process, so the encoder has group norm.
_TRAINING = [
    *("--images.size", "32", "32", "--encoder.name", "test_efficientnet_gn"),
    *("--encoder.width", "None", "--encoder.stem-stride", "None", "--encoder.scales", "2", "3"),
    *("--memory.sizes", "16", "8", "--stage1.batch", "16", "--device", "cpu"),
    *("--stage1.min-steps", "40", "--stage1.max-steps", "40", "--stage1.learning-rate", "0.02"),
]


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(number) for number in found.split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks /proc for the other process")
def test_a_fit_whose_second_process_is_killed_goes_on_on_two_nodes_and_ends_as_if_alone(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    words = ["fit", str(folders["train"]), "--out", str(tmp_path / "model"), *_TRAINING]
    script = tmp_path / "fit.py"
    script.write_text(SAVING_OFTEN)
    first = Command(script, *words, "--devices", "2", code=_SCRIPT)
    first.wait_for((tmp_path / "model.checkpoint").exists)
    (second,) = children(first.pid)
    os.kill(second, signal.SIGKILL)
    assert first.ended() == 1
    told = first.err.decode()
    assert "anomem: process 1 of 2 stops, as another one has ended" in told
    assert "fit again with --resume" in told
    assert not (tmp_path / "model").exists()

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    nodes = [
        Command(*words, "--nodes", "2", "--resume", **meeting, NODE_RANK=str(node))
        for node in range(2)
    ]
    assert [node.ended() for node in nodes] == [0, 0], nodes[0].err

    words[words.index("--out") + 1] = str(tmp_path / "alone")
    assert run(*words) == 0
    shared, alone = load_trained(tmp_path / "model"), load_trained(tmp_path / "alone")
    assert shared.summary_["steps"] == alone.summary_["steps"] == 40
    scores = alone.decision_function(folders["anomalous"])
    np.testing.assert_allclose(shared.decision_function(folders["anomalous"]), scores, rtol=0.02)
    assert scores.std() > 0.1


FAIL_ALONE = """
import sys, time
from anomem.runtime import processes

processes._GRACE = 1.0  # seconds
if processes.join_processes("cpu", devices=2).global_rank == 1:
    sys.exit(7)
time.sleep(1000)
"""


def test_a_process_that_does_not_notice_that_another_one_has_failed_is_ended(
    tmp_path: Path,
) -> None:
    script = tmp_path / "fit.py"
    script.write_text(FAIL_ALONE)
    first = Command(script, code=_SCRIPT)
    assert first.ended() == 1  # long before it is over by itself
    told = "anomem: process 1 stops, as another one has ended; mend what ended it"
    assert told in first.err.decode()


def test_torchrun_and_the_flags_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"TORCHELASTIC_RUN_ID": "7", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (environment | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"started 4 processes .* give 2 devices and 2 nodes"):
        join_processes("cpu", devices=2)


def test_a_process_alone_leads_and_its_errors_are_its_own() -> None:
    fabric = join_processes("cpu")
    assert leads() and fabric.world_size == 1
    with pytest.raises(RuntimeError, match=r"^gloo"), together(fabric):
        raise RuntimeError("gloo: connection closed")


SAVE_IN_A_GROUP = """
import sys
import torch.distributed
import anomem

source, out, meeting, rank = sys.argv[1:]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2
)
anomem.load(source, device="cpu").save(f"{out}/{rank}")
torch.distributed.barrier()
"""


def test_a_model_is_saved_on_any_rank_of_a_group_that_is_not_ours(
    model_folder: Path, tmp_path: Path
) -> None:
    paths = (model_folder, tmp_path, tmp_path / "meeting")
    ranks = [Command(*paths, rank, code=SAVE_IN_A_GROUP) for rank in range(2)]
    assert [rank.ended() for rank in ranks] == [0, 0]
    assert load_trained(tmp_path / "0").seed == load_trained(tmp_path / "1").seed
