"""Real kills: training and saving under SIGKILL, mid-write too."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from running import SAVING_OFTEN, Command, run

from anomem import load

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX systems")

TRAINING = [
    *("--images.size", "16", "16", "--encoder.width", "8", "--encoder.stem-stride", "1"),
    *("--memory.sizes", "64", "32", "--stage1.batch", "32", "--stage2.steps", "20"),
    *("--stage1.min-steps", "30", "--stage1.max-steps", "30", "--device", "cpu"),
]


def killed_at(words: list[str], moment: Callable[[], bool]) -> bool:
    """Run a command and kill it at a moment: whether it was still running then."""
    command = Command(*words, code=SAVING_OFTEN)
    command.wait_for(moment)
    return command.killed()


def test_a_fit_killed_again_and_again_ends_as_if_nothing_had_been(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    model = tmp_path / "killed" / "model"
    model.parent.mkdir()
    words = fit_words(folders, model)
    checkpoint = model.with_name("model.checkpoint")
    assert killed_at(words, checkpoint.exists)
    assert not model.exists()
    assert killed_at(words, lambda: any(model.parent.glob(".*.tmp")))
    assert not model.exists()
    if not killed_at(words, lambda: any(model.glob(".*.tmp"))):
        load(model)  # the machine was so busy that saving was over before the kill
    finish(words, model)
    check_scores(folders, model, whole_model(folders, tmp_path))


@pytest.mark.slow
def test_a_fit_killed_at_random_moments_ends_as_if_nothing_had_been(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    model = tmp_path / "killed" / "model"
    model.parent.mkdir()
    words = fit_words(folders, model)
    draw = random.Random(time.time_ns())
    for _ in range(12):
        end = time.monotonic() + draw.uniform(0.2, 3)
        killed_at(words, lambda end=end: time.monotonic() > end)  # type: ignore[misc]
        if (model / "model.json").exists():
            load(model)
    finish(words, model)
    check_scores(folders, model, whole_model(folders, tmp_path))


def fit_words(folders: dict[str, Path], model: Path) -> list[str]:
    return ["fit", str(folders["train"]), "--out", str(model), "--resume", *TRAINING]


def finish(words: list[str], model: Path) -> None:
    command = Command(*words)
    assert command.ended() == 0, command.err
    assert list(model.parent.iterdir()) == [model]


def whole_model(folders: dict[str, Path], tmp_path: Path) -> Path:
    """The model of the same fit, never interrupted."""
    assert run("fit", folders["train"], "--out", tmp_path / "whole", *TRAINING) == 0
    return tmp_path / "whole"


def check_scores(folders: dict[str, Path], model: Path, whole: Path) -> None:
    for name in ("normal", "anomalous"):
        scores = load(model, device="cpu").decision_function(folders[name])
        expected = load(whole, device="cpu").decision_function(folders[name])
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


def test_resume_refuses_the_checkpoint_of_another_run(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", str(folders["train"]), "--out", str(tmp_path / "model"), *TRAINING]
    assert killed_at(words, (tmp_path / "model.checkpoint").exists)
    for change in (["--seed", "1"], ["--memory.beta", "3"]):
        assert run(*words, "--resume", *change) == 1
        assert "belongs to a run with other images, choices or seed" in capsys.readouterr().err
    (tmp_path / "model.checkpoint").write_bytes(b"damaged")
    assert run(*words, "--resume") == 1
    assert "delete it and fit again" in capsys.readouterr().err


SAVE_UNDER_FIRE = """
import os, random, signal, sys, time
from pathlib import Path
import anomem

source, target, labels = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
models = [anomem.load(source, device="cpu") for _ in range(2)]
models[1].scorer_.labels.fill_(labels)
draw, seen, cut = random.Random(0), set(), 0

def parts():
    return set(target.parent.rglob(".*.tmp"))

def written():
    file = target / "model.json"
    return file.stat().st_mtime_ns if file.exists() else 0

for turn in range(24):
    draw.shuffle(models)
    left, before = parts(), written()
    child = os.fork()
    if child == 0:
        while True:
            for model in models:
                model.save(target)
    # In the middle of a write, or soon after a whole one.
    while not (parts() - left if turn % 2 else written() != before):
        time.sleep(0.0003)
    time.sleep(draw.uniform(0, 0.004))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    cut += bool(parts() - left)
    if (target / "model.json").exists():
        seen.add(int(anomem.load(target, device="cpu").scorer_.labels))
models[0].save(target)
print(sorted(seen), cut, sorted(file.suffix for file in target.iterdir()))
"""


def test_a_model_killed_while_it_is_saved_is_the_old_one_or_the_new_one(
    model_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "model"
    done = Command(model_folder, target, 7, code=SAVE_UNDER_FIRE)
    assert done.ended() == 0, done.err
    seen, parts, files = (
        done.out.decode().replace("] ", "]|").replace(" [", "|[").strip().split("|")
    )
    assert seen == "[0, 7]"
    assert int(parts) > 0, "no kill came in the middle of a write"
    assert files == "['.json', '.safetensors']"
