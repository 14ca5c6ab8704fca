"""Commands as tests run them: in this process, or in one of their own that can be killed."""

import multiprocessing
import os
import resource
import runpy
import shutil
import signal
import socket
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anomem.cli.app import main

HASTY = [
    *("--images.size", "16", "16", "--encoder.width", "4", "--memory.sizes", "8", "4"),
    *("--stage1.min-steps", "3", "--stage1.max-steps", "3", "--stage1.batch", "16"),
    *("--stage2.steps", "5", "--device", "cpu"),
]
"""Of ``fit``: the least training there is."""

_ANOMEM = "from anomem.cli.app import main; main()"
SAVING_OFTEN = f"""
from anomem.training import checkpoint
checkpoint._LEAST_SECONDS, checkpoint._SHARE_OF_TIME = 0.0, 1.0
{_ANOMEM}
"""
"""The same, with the state of the training saved after nearly every step."""
_LOADED = [
    "anomem.cli.train",
    "anomem.cli.use",
    "anomem.detector.estimator",
    "anomem.detector.model_folder",
    "anomem.report.evaluation",
    "anomem.report.heat",
    "anomem.labelling.server",
    "anomem.service.server",
    "anomem.bulk.unfinished",
    "anomem.watching.watched",
]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(_LOADED)


def run(*words: object) -> int:
    """Run a command in this process: its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


class Command:
    """A command in a process of its own, as from a shell.

    It is forked from a process that has loaded what commands need, which takes seconds each time.

    Args:
        words: Of the command.
        code: What is run, as by ``python -c``.
        environment: Variables that are set for it.
    """

    def __init__(self, *words: object, code: str = _ANOMEM, **environment: str) -> None:
        folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder)
        self._streams = [folder / "out", folder / "err"]
        for stream in self._streams:
            stream.touch()
        given = {
            "words": [str(word) for word in words],
            "code": code,
            "streams": [str(stream) for stream in self._streams],
            "environment": environment,
        }
        script = str(Path(__file__).with_name("forked.py"))
        self._process = _FORKS.Process(target=runpy.run_path, args=(script, given, "__main__"))
        self._process.start()

    @property
    def pid(self) -> int:
        """Number of its process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    @property
    def out(self) -> bytes:
        """What it has printed so far."""
        return self._streams[0].read_bytes()

    @property
    def err(self) -> bytes:
        """What it has said on standard error so far."""
        return self._streams[1].read_bytes()

    def wait_for(
        self, moment: Callable[[], bool], seconds: float = 120, every: float = 0.0003
    ) -> None:
        """Wait for a moment, or for its end; looks as often as a write takes, unless told."""
        end = time.monotonic() + seconds
        while self.runs and not moment():
            assert time.monotonic() < end, self.err
            time.sleep(every)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ended(self, seconds: float = 120) -> int:
        """Wait for its end: its exit code, below 0 that of the signal that ended it."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still running: {self.err!r}"
        return self._process.exitcode

    def killed(self) -> bool:
        """Kill it: whether it was still running."""
        self._process.kill()
        return self.ended() == -signal.SIGKILL


def two_by_torchrun(*words: object, code: str) -> list[Command]:
    """Two processes, each in the environment that torchrun gives it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    both = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "digits"}
    both |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0"}
    return [Command(*words, code=code, **both, RANK=rank, LOCAL_RANK=rank) for rank in "01"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk with little room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
