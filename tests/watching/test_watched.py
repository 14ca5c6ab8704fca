"""A folder that is watched, in this process and in processes that are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from brightness_graph import write_export
from PIL import Image
from running import Command, run

from anomem import AnoMem, load
from anomem.images.framing import Framing
from anomem.images.resize import ImageShape
from anomem.watching.results import ResultFile
from anomem.watching.watched import Destinations, Watched

Digits = dict[str, npt.NDArray[np.uint8]]


@dataclass
class Site:
    """A folder that is watched, and where results go."""

    root: Path

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    @property
    def out(self) -> Path:
        return self.root / "results.jsonl"

    def lines(self) -> list[dict[str, Any]]:
        if not self.out.exists():
            return []
        *whole, _ = self.out.read_bytes().split(b"\n")  # the last may be half written
        return [json.loads(line) for line in whole]

    def wait_for(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not done():
            assert time.monotonic() < end, self.lines()
            time.sleep(0.005)

    def wait_for_lines(self, count: int) -> list[dict[str, Any]]:
        self.wait_for(lambda: self.out.exists() and self.out.read_bytes().count(b"\n") >= count)
        return self.lines()

    @contextmanager
    def watched(self, model: AnoMem, sort_into: Path | None = None) -> Iterator[Watched]:
        """Watched by a thread meanwhile."""
        stop = threading.Event()
        places = Destinations(sort_into, self.root / "heat" if sort_into else None)
        with ResultFile(self.out) as results:
            watched = Watched(model, "one", "0.05", self.incoming, results, places)
            thread = threading.Thread(target=watched.run, args=(stop,))
            thread.start()
            try:
                yield watched
            finally:
                stop.set()
                thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "incoming").mkdir()
    return Site(tmp_path)


def png(pixels: npt.NDArray[np.uint8], file: Path) -> bytes:
    Image.fromarray(pixels).save(file)
    return file.read_bytes()


def test_what_appears_is_scored_once_and_sorted_away(
    site: Site, model: AnoMem, digits: Digits
) -> None:
    png(digits["normal"][0], site.incoming / "before.png")
    with site.watched(model, site.root / "sorted"):
        (site.incoming / "lot").mkdir()
        png(digits["anomalous"][0], site.incoming / "lot" / "odd.png")
        (site.incoming / "torn.png").write_bytes((site.root / "incoming").name.encode())
        (site.incoming / ".hidden.png").write_bytes(b"")
        (site.incoming / "notes.txt").write_text("no image")
        lines = {line["path"]: line for line in site.wait_for_lines(3)}
        site.wait_for(lambda: not (site.incoming / "torn.png").exists())
        png(digits["normal"][1], site.incoming / "before.png")  # the next image of this name
        again = site.wait_for_lines(4)[-1]
        site.wait_for(lambda: not (site.incoming / "before.png").exists())
    expected = model.decision_function(digits["normal"][:2])
    assert lines["before.png"]["score"] == pytest.approx(expected[0])
    assert again["score"] == pytest.approx(expected[1])
    assert again["path"] == "before.png" and again["number"] == 4
    assert lines["lot/odd.png"]["verdict"] == "anomalous"
    assert Path(lines["lot/odd.png"]["heat_map"]).is_file()
    assert lines["torn.png"]["score"] is None and "torn.png: " in lines["torn.png"]["error"]
    places = [*(line["moved_to"] for line in lines.values()), again["moved_to"]]
    assert {str(Path(place).relative_to(site.root / "sorted")) for place in places} == {
        "normal/before.png",
        f"{again['verdict']}/before-{again['sha256'][:8]}.png",
        "anomalous/lot/odd.png",
        "unreadable/torn.png",
    }
    assert all(Path(place).is_file() for place in places)
    assert sorted(file.name for file in site.incoming.iterdir()) == [
        ".hidden.png",
        "lot",
        "notes.txt",
    ]


def test_a_file_that_is_being_written_is_waited_for(
    site: Site, model: AnoMem, digits: Digits
) -> None:
    """Held open, or written in two goes; setting its time later makes it no other image."""
    whole = png(digits["normal"][0], site.root / "whole.png")
    with site.watched(model):
        with (site.incoming / "held.png").open("wb") as held:
            held.write(whole[:80])
            (site.incoming / "goes.png").write_bytes(whole[:80])
            time.sleep(0.5)
            held.write(whole[80:])
            held.flush()
            time.sleep(0.2)
            assert site.lines() == []
        with (site.incoming / "goes.png").open("ab") as goes:
            goes.write(whole[80:])
        lines = site.wait_for_lines(2)
        os.utime(site.incoming / "held.png", (0, 0))
        time.sleep(0.2)
        assert site.lines() == lines
        png(digits["normal"][1], site.incoming / "held.png")
        lines = site.wait_for_lines(3)
    assert sorted(line["path"] for line in lines) == ["goes.png", "held.png", "held.png"]
    assert all(line["error"] is None for line in lines)


def test_a_name_that_is_no_utf_8_is_a_name(site: Site, model: AnoMem, digits: Digits) -> None:
    """Nothing is told of such a file, nor of others beside it."""
    with site.watched(model):
        png(digits["normal"][0], site.incoming / "first.png")
        site.wait_for_lines(1)
        png(digits["normal"][1], site.incoming / os.fsdecode(b"odd-\xff.png"))
        png(digits["normal"][2], site.incoming / "last.png")
        lines = site.wait_for_lines(3)
    assert {line["path"] for line in lines} == {"first.png", "odd-\udcff.png", "last.png"}


def test_killed_again_and_again_no_image_is_lost_and_none_scored_twice(
    site: Site, model_folder: Path, digits: Digits
) -> None:
    images = np.concatenate([digits["normal"], digits["anomalous"]])[:160]
    draw, sorted_away = random.Random(time.time_ns()), site.root / "sorted"

    def stream() -> None:
        for number, image in enumerate(images):
            png(image, site.incoming / f"{number}.png")
            time.sleep(0.01)

    writer = threading.Thread(target=stream)
    words = ["watch", model_folder, site.incoming, "--out", site.out, "--device", "cpu"]
    writer.start()
    for kill in range(3):
        command = Command(*words, "--sort-into", sorted_away)
        more = draw.randint(1, 25)
        command.wait_for(lambda until=40 * kill + more: len(site.lines()) >= until)  # type: ignore[misc]
        assert command.killed(), command.err
    writer.join()
    command = Command(*words, "--sort-into", sorted_away)
    command.wait_for(lambda: len(site.lines()) >= 160 and not any(site.incoming.iterdir()))
    command.signal(signal.SIGTERM)
    assert command.ended() == 0, command.err
    lines = site.lines()
    assert sorted(int(line["path"].removesuffix(".png")) for line in lines) == list(range(160))
    assert [line["number"] for line in lines] == list(range(1, 161))
    scores = load(model_folder, device="cpu").decision_function(images)
    for line in lines:
        number = int(line["path"].removesuffix(".png"))
        assert line["score"] == pytest.approx(scores[number], abs=1e-4)
        assert Path(line["moved_to"]) == sorted_away / line["verdict"] / line["path"]
        np.testing.assert_array_equal(Image.open(line["moved_to"]), images[number])


WITHOUT_TORCH = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)

sys.meta_path.insert(0, Without())
from anomem.cli.app import main
main()
"""


def test_an_exported_folder_is_watched_without_pytorch(site: Site, digits: Digits) -> None:
    model = write_export(site.root / "model", Framing("resize", ImageShape(1, 16, 16)))
    png(digits["normal"][0], site.incoming / "a.png")
    words = ["watch", model, site.incoming, "--out", site.out, "--heatmaps", site.root / "heat"]
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)]
    with subprocess.Popen(command) as process:
        (line,) = site.wait_for_lines(1)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert line["score"] == pytest.approx(load(model).decision_function([digits["normal"][0]])[0])
    assert Path(line["heat_map"]).is_file()


def test_a_change_is_told_on_the_line_of_its_image_also_after_a_start_anew(
    site: Site, model: AnoMem, digits: Digits
) -> None:
    """Half of the evidence was gathered before: lines of the same model count."""
    odd = digits["anomalous"]
    for start, stop in ((0, 4), (4, 40)):
        for number in range(start, stop):
            png(odd[number], site.incoming / f"{number:02}.png")
        with site.watched(model):
            lines = site.wait_for_lines(stop)
    told = [line["drift"] for line in lines if line["drift"]]
    assert told and told[0]["delay"] <= told[0]["seen"] < 40
    assert told[0]["since"] == "00.png"


def test_a_file_of_results_is_of_one_watcher_and_no_other_file(
    site: Site, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["watch", model_folder, site.incoming, "--out", site.out]
    with ResultFile(site.out):
        assert run(*words) == 1
    assert "is written by another anomem watch" in capsys.readouterr().err
    for content in ("[1]", '{"score": 1}\n'):
        site.out.write_text(content)
        assert run(*words) == 1
        assert "line 1 is no result of anomem watch" in capsys.readouterr().err
        assert site.out.read_text() == content
    assert run(*words[:-1], site.root / "other", "--sort-into", site.incoming / "sorted") == 1
    assert "lies among the images" in capsys.readouterr().err
