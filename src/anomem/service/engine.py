"""The engine of a served model: requests that arrive together are scored together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from anomem.images.combined import JoinedSource
from anomem.images.source import ImageSource
from anomem.runtime.printing import tell
from anomem.service.limits import Limits, Room
from anomem.service.metrics import Metrics
from anomem.service.served import Judged, Loaded, Served

Answer = TypeVar("Answer")


class Failed(Exception):
    """Says that a model failed on images that could be read."""


@dataclass(frozen=True)
class _Request:
    """Waits for its answer.

    Attributes:
        images: To be scored.
        answer: What is said of each, and by which model.
        since: When it came, by the clock of the loop.
    """

    images: ImageSource
    answer: asyncio.Future[tuple[Loaded, list[Judged]]]
    since: float


class Engine:
    """Scores the images of requests in batches, on the one thread that computes.

    Args:
        served: The model.
        limits: Of the service.
        thread: That computes, for all models.
        metrics: Of the service.
    """

    def __init__(self, served: Served, limits: Limits, thread: Executor, metrics: Metrics) -> None:
        self.served = served
        self._limits, self._thread, self._metrics = limits, thread, metrics
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self.room = Room(limits.queue)
        self._seconds = 0.01  # that an image took lately
        self._free = 0.0  # since when, by the clock of the loop
        self._lately = limits.batch  # images that were here at once

    async def score(self, images: ImageSource) -> tuple[Loaded, list[Judged]]:
        """Score the images of a request together with those of others.

        Returns:
            The model that was asked, and what it says of each image.

        Raises:
            Busy: Too many images wait.
            TimeoutError: There was no answer in time; what was not begun is left out.
            Failed: The model failed.
        """
        loop = asyncio.get_running_loop()
        with self.room.held(len(images), self._seconds * self.room.taken):
            request = _Request(images, loop.create_future(), loop.time())
            self._queue.put_nowait(request)
            async with asyncio.timeout(self._limits.timeout):
                model, judged = await request.answer
        for each in judged:
            self._metrics.judged(self.served.name, each)
            if each.error is None and (change := model.drift.take(each.name, each.score)):
                tell(f"anomem: {self.served.name}: {change}", error=True)
        self._metrics.drifted(self.served.name, model.drift)
        return model, judged

    async def ask(self, question: Callable[[], Answer], images: int = 1) -> Answer:
        """Ask a model something else of so many images, in turn with the batches.

        Raises:
            Busy: Too many images wait.
            TimeoutError: There was no answer in time.
        """
        loop = asyncio.get_running_loop()
        with self.room.held(images, self._seconds * self.room.taken):
            async with asyncio.timeout(self._limits.timeout):
                return await loop.run_in_executor(self._thread, question)

    async def run(self) -> None:
        """Score what comes, for ever."""
        while True:
            batch = [each for each in await self._together() if not each.answer.done()]
            if batch:
                await self._answer(batch)
                self._free, self._lately = asyncio.get_running_loop().time(), self.room.taken

    async def _together(self) -> list[_Request]:
        """The requests of the next batch: those that are there, and who comes back within the wait.

        Who has just been answered may ask again at once. If the others were scored meanwhile, one
        half of the clients would always wait for the other, and batches would be half as large.
        """
        first = await self._queue.get()
        batch, count = [first], len(first.images)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(max(first.since, self._free) + self._limits.wait):
                while count < self._limits.batch and (
                    count < self._lately or not self._queue.empty()
                ):
                    batch.append(await self._queue.get())
                    count += len(batch[-1].images)
        return batch

    async def _answer(self, batch: list[_Request]) -> None:
        loop, model = asyncio.get_running_loop(), self.served.now
        images = JoinedSource([each.images for each in batch])
        begun = loop.time()
        try:
            judged = await loop.run_in_executor(self._thread, model.judge, images)
        except Exception as error:
            if len(batch) == 1:
                _give(batch[0], Failed(f"{type(error).__name__}: {error}"))
                return
            for each in batch:  # of which one may be to blame
                await self._answer([each])
            return
        self._seconds = (loop.time() - begun) / len(images)
        self._metrics.batch(self.served.name, len(images), loop.time() - begun)
        for each in batch:
            own, judged = judged[: len(each.images)], judged[len(each.images) :]
            _give(each, (model, own))


def _give(request: _Request, answer: tuple[Loaded, list[Judged]] | Failed) -> None:
    """Answer a request that still waits."""
    if request.answer.done():
        return
    if isinstance(answer, Failed):
        request.answer.set_exception(answer)
    else:
        request.answer.set_result(answer)
