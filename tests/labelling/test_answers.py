import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from anomem.labelling.answers import AnswerFile


def test_the_last_answer_of_an_image_counts(tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path / "labels.csv")
    assert answers.read() == {}
    for name, answer in (("a", "normal"), ("b", "skipped"), ("a", "undone"), ("a", "anomalous")):
        answers.append(tmp_path / "deep" / f"{name}.png", answer)  # type: ignore[arg-type]
    assert list(answers.read().items()) == [
        (tmp_path / "deep" / "b.png", "skipped"),
        (tmp_path / "deep" / "a.png", "anomalous"),
    ]


def test_paths_are_seen_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    AnswerFile(tmp_path / "kept" / "labels.csv").append(tmp_path / "in, out" / "ü.png", "normal")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "kept").rename(tmp_path / "elsewhere" / "kept")
    read = AnswerFile(moved / "labels.csv").read()
    assert read == {tmp_path / "elsewhere" / "in, out" / "ü.png": "normal"}


def test_a_torn_line_costs_nothing_but_itself(tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path / "labels.csv")
    answers.append(tmp_path / "a.png", "normal")
    with answers.file.open("a") as end:
        end.write("b.png,anom")
    answers.append(tmp_path / "c.png", "anomalous")
    assert list(answers.read().values()) == ["normal", "anomalous"]


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("path,score\na.png,1\n")
    with pytest.raises(ValueError, match="has the columns path, score and not image, answer, time"):
        AnswerFile(tmp_path / "scores.csv").read()


def _write(file: Path, name: str) -> None:
    for number in range(10_000):
        AnswerFile(file).append(file.parent / f"{name}-{number}.png", "normal")


def test_two_writers_of_which_one_is_killed_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(file, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    time.sleep(0.5)
    for writer in writers:
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    names = [image.stem for image in AnswerFile(file).read()]
    for name in "ab":
        kept = [int(stem[2:]) for stem in names if stem.startswith(name)]
        assert kept == list(range(len(kept))) and len(kept) > 10
