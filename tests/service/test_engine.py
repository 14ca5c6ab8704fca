import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from anomem import AnoMem
from anomem.images.arrays import ArraySource
from anomem.images.source import BytesSource, ImageSource
from anomem.service.engine import Engine, Failed
from anomem.service.limits import Busy, Limits
from anomem.service.metrics import Metrics
from anomem.service.served import Served

Digits = dict[str, npt.NDArray[np.uint8]]


def within(model: Path, limits: Limits, work: Callable[[Engine], Awaitable[Any]]) -> Metrics:
    """Let an engine run while some work is done."""

    async def both(engine: Engine) -> None:
        running = asyncio.create_task(engine.run())
        await work(engine)
        assert engine.room.taken == 0 and not running.done()
        running.cancel()

    metrics = Metrics()
    with ThreadPoolExecutor(1) as thread:
        served = Served(model, "0.05", "cpu", metrics.reloaded)
        asyncio.run(both(Engine(served, limits, thread, metrics)))
    return metrics


def test_what_arrives_together_is_scored_together_and_as_if_alone(
    model_folder: Path, model: AnoMem, digits: Digits
) -> None:
    images = np.concatenate([digits["normal"][:8], digits["anomalous"][:8]])
    alone = model.decision_function(images)

    async def work(engine: Engine) -> None:
        parts = [ArraySource(images[start : start + 2]) for start in range(0, 16, 2)]
        answers = await asyncio.gather(*map(engine.score, parts))
        judged = [each for _, several in answers for each in several]
        assert [each.score for each in judged] == alone.tolist()
        assert [each.p_value for each in judged] == model.p_value(images).tolist()
        assert [each.anomalous for each in judged] == model.predict(images).astype(bool).tolist()

    told = within(model_folder, Limits(wait=0.5, batch=16), work).text().decode()
    assert 'anomem_batch_images_count{model="zeros"} 1.0' in told
    assert 'anomem_images_total{model="zeros",verdict="anomalous"}' in told


def test_a_request_alone_waits_no_longer_than_told(model_folder: Path, digits: Digits) -> None:
    async def work(engine: Engine) -> None:
        async with asyncio.timeout(20):
            await engine.score(ArraySource(digits["normal"][:1]))

    within(model_folder, Limits(wait=0.01, batch=10**6), work)


def test_as_many_are_waited_for_as_there_were_before(model_folder: Path, digits: Digits) -> None:
    async def client(engine: Engine) -> None:
        for _ in range(5):
            await engine.score(ArraySource(digits["normal"][:1]))

    async def work(engine: Engine) -> None:
        async with asyncio.timeout(12):  # the first batch waits for 3 s, and none thereafter
            await asyncio.gather(*(client(engine) for _ in range(4)))

    told = within(model_folder, Limits(wait=3, batch=100), work).text().decode()
    assert 'anomem_batch_images_count{model="zeros"} 5.0' in told


def test_what_finds_no_room_is_told_when_to_come_again(model_folder: Path, digits: Digits) -> None:
    async def work(engine: Engine) -> None:
        one = ArraySource(digits["normal"][:3])
        found = await asyncio.gather(*(engine.score(one) for _ in range(4)), return_exceptions=True)
        refused = [each for each in found if isinstance(each, Busy)]
        assert len(refused) == 2 and min(each.seconds for each in refused) >= 1
        await engine.score(ArraySource(digits["normal"][:7]))  # more than all the room, alone

    within(model_folder, Limits(queue=6), work)


def test_what_is_not_answered_in_time_is_left_out(model_folder: Path, digits: Digits) -> None:
    async def work(engine: Engine) -> None:
        with pytest.raises(TimeoutError):
            await engine.score(ArraySource(digits["normal"][:1]))

    told = within(model_folder, Limits(wait=0.2, timeout=0.05), work).text()
    assert b"verdict=" not in told


class _Unplugged(ImageSource):
    names = ("camera",)

    def __getitem__(self, _: int) -> npt.NDArray[np.uint8]:
        raise OSError("the camera is unplugged")


def test_a_request_that_fails_takes_no_other_with_it(model_folder: Path, digits: Digits) -> None:
    async def work(engine: Engine) -> None:
        good, broken = ArraySource(digits["normal"][:1]), BytesSource([b"GIF89a"], ["x.gif"])
        answers = await asyncio.gather(
            *map(engine.score, (good, _Unplugged(), broken)), return_exceptions=True
        )
        assert isinstance(answers[1], Failed)
        assert not isinstance(answers[0], BaseException) and answers[0][1][0].error is None
        assert not isinstance(answers[2], BaseException)
        assert str(answers[2][1][0].error).startswith("x.gif: the image is damaged")

    within(model_folder, replace(Limits(), wait=0.5, batch=3), work)
