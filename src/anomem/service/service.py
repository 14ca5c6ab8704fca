"""What all routes share: the engines of the models that are served, and what they count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from pydantic import BaseModel

from anomem.service.engine import Engine
from anomem.service.limits import Limits, Room
from anomem.service.metrics import Metrics
from anomem.service.served import Loaded, Served

_BODIES = 8
"""Bodies of the largest size that all requests hold together."""


class Problem(BaseModel):
    """Says in one line why a request is not answered."""

    error: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "What is wrong with the request, in one line."},
    "5XX": {"model": Problem, "description": "What is wrong with the service, in one line."},
}
"""Answers of every route, for its description."""


class Service:
    """Serves models.

    Args:
        folders: Of the models.
        rule: Of their decisions, see ``AnoMem.threshold``; None takes that of each model.
        device: As of ``load``.
        limits: Of the service.

    Attributes:
        engines: Of the models, by their names.
        metrics: What is counted.
        limits: Of the service.
        bytes: Room for the bodies of requests.

    Raises:
        ValueError: A folder is no model, or two have one name.
    """

    def __init__(
        self, folders: Sequence[Path], rule: str | None, device: str, limits: Limits
    ) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.bytes = Room(_BODIES * limits.body)
        # One thread computes, as several would take the cores from one another.
        self._thread = ThreadPoolExecutor(1, "scoring")
        self.engines: dict[str, Engine] = {}
        self._tasks: list[asyncio.Task[None]] = []
        for folder in folders:
            served = Served(folder, rule, device, self.metrics.reloaded)
            if served.name in self.engines:
                raise ValueError(f"two models are called {served.name}; rename the folder of one.")
            self.engines[served.name] = Engine(served, limits, self._thread, self.metrics)

    @property
    def ready(self) -> bool:
        """Tell whether it scores and follows its models."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    def engine(self, name: str | None) -> Engine:
        """Find a model; None is the one that there is.

        Raises:
            HTTPException: There is no such model, or several.
        """
        known = ", ".join(self.engines)
        if name is None:
            if len(self.engines) > 1:
                problem = f"Several models are served; name one, as ?model=NAME: {known}."
                raise HTTPException(400, problem)
            return next(iter(self.engines.values()))
        if name not in self.engines:
            raise HTTPException(404, f"There is no model {name[:100]!r}; there is {known}.")
        return self.engines[name]

    @asynccontextmanager
    async def running(self, _: object) -> AsyncIterator[None]:
        """Score and follow the models inside."""
        for engine in self.engines.values():
            for work in (engine.run(), engine.served.follow()):
                self._tasks.append(asyncio.create_task(work))
        yield
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)


def by(name: str, loaded: Loaded) -> dict[str, Any]:
    """Say which model answers, and how it decides."""
    return {
        "model": name,
        "revision": loaded.revision,
        "rule": loaded.rule,
        "threshold": loaded.threshold,
    }
