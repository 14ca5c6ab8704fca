"""The service under load: throughput, mutated images, and a soak.

    python benchmarks/service.py throughput [--preset pretrained | --model DIR] [--out FILE]
    python benchmarks/service.py mutated [--count 50000]
    python benchmarks/service.py soak [--seconds 600]

Throughput takes turns: the bare engine on the same files in memory, a service that scores requests
together, and one that scores each alone. Clients are threads of this process, one image a request
over a kept connection, so on one machine they take time from the service. Every answer to a mutated
image must be a score or an error of one line that tells nothing of the machine. A soak keeps all
clients busy, and fails unless all are answered with a score and memory grows, in its second half,
by less an answer than the smallest object takes.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from threading import Event, Lock
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import tyro
from PIL import Image, features

from anomem import AnoMem, load
from anomem.decision.ready import ReadyDetector
from anomem.images.source import BytesSource
from anomem.runtime.allocator import keep_freed_memory
from scoring import fitted
from step import crops
from turns import machine, show

Preset = Literal["scratch", "pretrained"]

_SIDE = 256
_LOOKS = 60
"""Looks at the memory of a service during a soak."""
_OBJECT = 32
"""Bytes of the smallest object that a request could leave behind: a number takes as many."""
_TOGETHER: dict[str, list[str]] = {"together": [], "alone": ["--batch", "1", "--wait-ms", "0"]}
_OF_MACHINE = re.compile(r'Traceback|File "|\n|(?:^|[\s(])/\w+/')


@dataclass
class Answers:
    """What clients heard: statuses, milliseconds of each, seconds in all, and what is wrong.

    ``processor`` are the seconds that the clients have computed.
    """

    status: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    processor: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """All of it in figures."""
        p50, p95 = np.percentile(self.milliseconds, [50, 95]).tolist()
        rate = self.status[200] / self.seconds
        status = {str(number): count for number, count in sorted(self.status.items())}
        clients = 1e3 * self.processor / len(self.milliseconds)
        times = {"per_s": rate, "p50_ms": p50, "p95_ms": p95, "clients_processor_ms": clients}
        return {**times, "status": status, "wrong": self.wrong}


@contextmanager
def served(model: Path, *words: str) -> Iterator[str]:
    """The command in a process of its own: its address."""
    main = "from anomem.cli.app import main; main()"
    command = [sys.executable, "-c", main, "serve", str(model), "--port", "0", *words]
    with subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        yield run.stdout.readline().strip()
        run.terminate()
        assert run.wait(60) == 0


def asked(address: str, bodies: Iterator[bytes], clients: int) -> Answers:
    """Send each body from one of so many clients, each of which waits for its answer."""
    answers, netloc, turn = Answers(), urlsplit(address).netloc, Lock()

    def following() -> bytes | None:
        with turn:
            return next(bodies, None)

    def client(_: int) -> None:
        connection = http.client.HTTPConnection(netloc, timeout=90)
        while (body := following()) is not None:
            begun = time.perf_counter()
            try:
                connection.request("POST", "/v1/score", body)
                answer = connection.getresponse()
                status, content = answer.status, answer.read()
            except OSError as error:
                status, content = 0, repr(error).encode()
                connection.close()
            answers.milliseconds.append(1e3 * (time.perf_counter() - begun))
            answers.status[status] += 1
            if problem := wrong(status, content):
                answers.wrong.append(problem)
        connection.close()

    begun, computed = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    answers.seconds = time.perf_counter() - begun
    answers.processor = time.process_time() - computed
    return answers


def wrong(status: int, content: bytes) -> str | None:
    """What is wrong with an answer: neither a score nor an error of one line, without a path."""
    try:
        told = json.loads(content)
        if status == 200:
            return None if np.isfinite(told["images"][0]["score"]) else f"no score: {content!r}"
        error = told["error"]
    except (ValueError, LookupError, TypeError):
        return f"{status}: {content[:300]!r}"
    fine = 400 <= status < 500 and not _OF_MACHINE.search(error)
    return None if fine else f"{status}: {error}"


def originals() -> list[bytes]:
    """An image in every format and in some of their kinds."""
    pixels = crops(1, 24)[0]
    colour, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *((image, "PNG", {}) for image in (colour, grey, deep, colour.convert("P"))),
        *((image, "TIFF", {}) for image in (colour, grey, deep)),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        *((colour, "JPEG", {"progressive": several}) for several in (True, False)),
        (colour.convert("CMYK"), "JPEG", {}),
        *((colour, kind, {}) for kind in ("BMP", "GIF", "PPM", "WEBP", "JPEG2000")),
        (colour, "GIF", {"save_all": True, "append_images": [grey, colour]}),
    ]
    if features.check("avif"):
        kinds.append((colour, "AVIF", {}))
    made = []
    for image, kind, choices in kinds:
        file = io.BytesIO()
        image.save(file, kind, **choices)
        made.append(file.getvalue())
    return made


def mutated(count: int, seed: int = 0) -> Iterator[bytes]:
    """So many damaged images: cut, changed in bytes, in the head, by a piece, or two in one."""
    rng, whole = np.random.default_rng(seed), originals()
    for _ in range(count):
        content = bytearray(whole[rng.integers(len(whole))])
        start = int(rng.integers(1, len(content)))
        kind = rng.integers(5)
        if kind == 0:
            del content[start:]
        elif kind in (1, 2):
            reach = len(content) if kind == 1 else min(64, len(content))
            for place in rng.integers(reach, size=int(rng.integers(1, 9))):
                content[place] = int(rng.integers(256))
        elif kind == 3:
            piece = bytes(rng.integers(256, size=int(rng.integers(16)), dtype=np.uint8))
            content[start : start + int(rng.integers(16))] = piece
        else:
            content[start:] = whole[rng.integers(len(whole))]
        yield bytes(content)


def jpegs(count: int) -> list[bytes]:
    """So many crops of photographs as JPEG files."""
    made = []
    for pixels in crops(count, _SIDE):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=90)
        made.append(file.getvalue())
    return made


@contextmanager
def model_of(preset: Preset, files: Sequence[bytes]) -> Iterator[Path]:
    """A model of a preset; how well it detects does not matter here."""
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(place, f"{number:03}.jpg") for number in range(100)]
        for path, content in zip(paths, files, strict=False):
            path.write_bytes(content)
        if preset == "scratch":
            model = fitted(64, paths, reduced=True)
        else:
            model = AnoMem(preset, device="cpu").fit(paths)
        model.save(Path(place, "model"))
        yield Path(place, "model")


def bare(model: ReadyDetector, files: Sequence[bytes]) -> float:
    """Images/s of the engine alone, from files in memory."""
    source = BytesSource(list(files), [str(number) for number in range(len(files))])
    begun = time.perf_counter()
    model.score_images(source)
    return len(files) / (time.perf_counter() - begun)


def throughput(
    preset: Preset = "scratch",
    model: Path | None = None,
    clients: int = 32,
    images: int = 2048,
    rounds: int = 3,
    out: Path | None = None,
) -> None:
    """Images/s with and without batching beside the bare engine; a round more warms up."""
    files = jpegs(256)
    with nullcontext(model) if model else model_of(preset, files) as path:
        detector = load(path, device="cpu")
        rates: dict[str, list[float]] = {"bare": [], **{name: [] for name in _TOGETHER}}
        latest: dict[str, Any] = {}
        with served(path) as together, served(path, *_TOGETHER["alone"]) as alone:
            for number in range(rounds + 1):  # the first warms up
                some = list(islice(cycle(files), images))
                found = {"bare": bare(detector, some)}
                for name, address in (("together", together), ("alone", alone)):
                    latest[name] = asked(address, iter(some), clients).told()
                    found[name] = latest[name]["per_s"]
                for name, rate in found.items() if number else ():
                    rates[name].append(rate)
    shares = [b / a for a, b in zip(rates["bare"], rates["together"], strict=True)]
    told = {n: {"median": median(r), "low": min(r), "high": max(r)} for n, r in rates.items()}
    share = {"median": median(shares), "low": min(shares), "high": max(shares)}
    table = {"clients": clients, "per_s": told, "share_of_bare": share, "last_round": latest}
    show({"machine": machine(), "model": str(model or preset), **table}, out)


@dataclass
class Held:
    """What a service held in memory: answers until then and MiB, a row a look."""

    rows: list[tuple[int, float]] = field(default_factory=list)

    def look(self, address: str) -> None:
        """Ask the service."""
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=90)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        images = re.findall(r"^anomem_images_total\S* (\S+)", text, re.MULTILINE)
        (held,) = re.findall(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
        self.rows.append((int(sum(map(float, images))), float(held) / 2**20))

    def growth(self) -> float:
        """Bytes an answer in the second half: the median of the slopes between any two looks."""
        late = np.array(self.rows[len(self.rows) // 2 :])
        some, others = np.triu_indices(len(late), 1)
        slopes = (late[others, 1] - late[some, 1]) / (late[others, 0] - late[some, 0])
        return float(np.median(slopes)) * 2**20


def soak(
    preset: Preset = "scratch",
    model: Path | None = None,
    clients: int = 32,
    seconds: float = 600,
    out: Path | None = None,
) -> None:
    """Answers and memory over a long time at full load; fails where either is not as it should."""
    files, held, over = jpegs(256), Held(), Event()
    with nullcontext(model) if model else model_of(preset, files) as path, served(path) as address:

        def watch() -> None:
            while not over.wait(seconds / _LOOKS):
                held.look(address)

        with ThreadPoolExecutor(1) as looking:
            watching = looking.submit(watch)
            answers = asked(address, _until(time.perf_counter() + seconds, files), clients)
            over.set()
            watching.result()
    growth = held.growth()
    told = {"growth_bytes_an_answer": growth, "answers_and_mib": held.rows, **answers.told()}
    show({"machine": machine(), "model": str(model or preset), "clients": clients, **told}, out)
    if growth >= _OBJECT or answers.status.keys() != {200} or answers.wrong:
        sys.exit("The service grows, or has lost an answer.")


def _until(end: float, files: Sequence[bytes]) -> Iterator[bytes]:
    for content in cycle(files):
        if time.perf_counter() > end:
            return
        yield content


def damaged(
    count: int = 50_000, model: Path | None = None, clients: int = 8, out: Path | None = None
) -> None:
    """Answers to mutated images."""
    given = nullcontext(model) if model else model_of("scratch", jpegs(100))
    with given as path, served(path) as address:
        found = asked(address, mutated(count), clients).told()
    show({"machine": machine(), "count": count, **found}, out)


COMMANDS: dict[str, Callable[..., None]] = {
    "throughput": throughput,
    "mutated": damaged,
    "soak": soak,
}

if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    tyro.extras.subcommand_cli_from_dict(COMMANDS)
