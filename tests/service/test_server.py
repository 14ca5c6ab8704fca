"""The service from its start to its end: the command, a real server, many clients."""

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt
import pytest
from running import run
from serving import Running, png

from anomem import AnoMem
from anomem.images.decode_memory import BUDGET

Digits = dict[str, npt.NDArray[np.uint8]]


def test_what_is_taken_is_answered_before_it_ends_and_no_more_is_taken(
    model_folder: Path, digits: Digits
) -> None:
    service = Running.of(model_folder, "--wait-ms", 2000, "--batch", 1000, "--queue", 8)
    with ThreadPoolExecutor(8) as clients:
        answers = [
            clients.submit(service.ask, "v1/score", png(each)) for each in digits["train"][:8]
        ]
        while json.loads(json.dumps(service.ask("v1/models")[1]))["models"][0]["waiting"] < 8:
            time.sleep(0.01)
        status, told, headers = service.ask("v1/score", png(digits["train"][8]))
        assert (status, told["error"][:19]) == (429, "The service is busy")
        assert int(headers["retry-after"]) >= 1
        service.command.signal(signal.SIGTERM)
        assert [each.result()[0] for each in answers] == 8 * [200]
    assert service.command.ended() == 0
    assert json.loads(service.command.out.splitlines()[-1]) == {"models": ["zeros"]}
    assert service.command.err == b""


def test_a_replaced_model_is_read_anew_and_no_request_is_dropped(
    model_folder: Path, model: AnoMem, digits: Digits, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "line")
    service, image, over = Running.of(folder), png(digits["anomalous"][0]), Event()
    before = service.ask("v1/models")[1]["models"][0]["revision"]
    adapted = model.adapt(digits["anomalous"][:5], [1] * 5)
    adapted.save(tmp_path / "new")
    expected = float(adapted.decision_function(digits["anomalous"][:1])[0])

    def client() -> list[tuple[str, float]]:
        told = []
        while not over.is_set():
            status, answer, _ = service.ask("v1/score", image)
            assert status == 200
            told.append((answer["revision"], answer["images"][0]["score"]))
        return told

    with ThreadPoolExecutor(4) as clients:
        running = [clients.submit(client) for _ in range(4)]
        try:
            (folder / "model.json").write_text("{")  # half a copy: the model before stays
            service.command.wait_for(lambda: b"line stays as it was: " in service.command.err)
            folder.rename(tmp_path / "before")
            service.command.wait_for(lambda: b"holds no model any more" in service.command.err)
            (tmp_path / "new").rename(folder)
            service.command.wait_for(lambda: b"line is loaded anew" in service.command.err)
            time.sleep(0.2)
        finally:
            over.set()
        told = [each for client in running for each in client.result()]
    service.command.killed()
    revisions, scores = ({each[part] for each in told} for part in (0, 1))
    assert len(revisions) == len(scores) == 2
    assert before in revisions and expected in scores


def test_another_address_needs_a_token(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ.pop("ANOMEM_TOKEN", None)
    assert run("serve", model_folder, "--host", "0.0.0.0", "--port", 0) == 1
    assert "others reach 0.0.0.0 and there is no token" in capsys.readouterr().err
    (tmp_path / "token").touch()
    for file, why in (("none", "cannot be read (No such file"), ("token", "is empty")):
        assert run("serve", model_folder, "--token-file", tmp_path / file) == 1
        assert f"{tmp_path / file} {why}" in capsys.readouterr().err
    (tmp_path / "token").write_text("short\n")
    assert run("serve", model_folder, "--token-file", tmp_path / "token") == 1
    assert "the token must be 16" in capsys.readouterr().err
    other = shutil.copytree(model_folder, tmp_path / "zeros")
    assert run("serve", model_folder, other) == 1
    assert "two models are called zeros" in capsys.readouterr().err
    assert BUDGET.pixels is None  # what a service refuses is over with it
