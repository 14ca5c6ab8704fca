"""Methods trained side by side on the same images, for the same seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from anomem.training.optimisation import Clock
from anomem_bench.contender import Contender, TrainingSet
from anomem_bench.exam import Judgement

SLICE = 2.0
"""Seconds a method trains before the next one has its turn."""
MARKS = (0.25, 0.5)
"""Shares of the budget at which a method is scored on its way."""


@dataclass
class Lane:
    """Leads one contender on its way.

    Attributes:
        contender: The method.
        images: What it trains on.
        budget: Seconds of a whole fit: initialisation, training and what follows it.
        judge: Measures it, made ready to score, at a share of the budget; the time that takes is
            nobody's.
        now: Tells the time in seconds, by default that of the wall.
        seconds: Seconds its fit has taken.
        steps: Steps done.
        failure: Why the fit could not end, None if it could.
        marks: What the judge said at each share of the budget; at 1 the fit is over.
    """

    contender: Contender
    images: TrainingSet
    budget: float
    judge: Callable[[Contender, float], Judgement]
    now: Callable[[], float] = time.monotonic
    seconds: float = 0.0
    steps: int = 0
    failure: str | None = None
    marks: dict[float, Judgement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clock = Clock(self.budget, now=self.now)
        self._walk = self.contender.begin(self.images, self._clock)

    def advance(self, seconds: float) -> bool:
        """Train for so many seconds, or to the next mark; False where the fit is over.

        Raises:
            ValueError: The budget is over before the next mark.
        """
        mark = next((m for m in MARKS if m not in self.marks), None)
        until = self.seconds + seconds
        if mark is not None:
            until = min(until, mark * self.budget)
        begun, before = self.now(), self.seconds
        over = True
        for steps in self._walk:
            self.steps = steps
            self.seconds = before + self.now() - begun
            if self.seconds >= until:
                over = False
                break
        if over and mark is not None and self._clock.share() >= 1:
            raise ValueError(
                f"a budget of {self.budget:g} s leaves too little time to train; raise it."
            )
        if over:
            self.seconds = before + self.now() - begun
            self.seconds += self._finish()
            end = self.judge(self.contender, 1.0)
            # Who needs no more time is at every later mark what it is at its end.
            rest = {m: end for m in MARKS if m not in self.marks}
            self.marks |= rest | {1.0: end}
        elif mark is not None and self.seconds >= mark * self.budget:
            # What follows the training takes from the budget what it took here.
            outside = self.seconds - self._clock.spent + self._finish()
            self._clock.limit = max(self.budget - outside, self._clock.spent)
            self.marks[mark] = self.judge(self.contender, mark)
        return not over

    def _finish(self) -> float:
        begun = self.now()
        self.contender.finish()
        return self.now() - begun


def race(lanes: Sequence[Lane], *, slice_seconds: float = SLICE) -> Iterator[Lane]:
    """Train all contenders in turn, a slice each, so that a slow spell falls on all.

    Args:
        lanes: The methods at their start.
        slice_seconds: Length of a turn.

    Yields:
        Each lane as its fit is over, or has failed.
    """
    running = list(lanes)
    while running:
        for lane in list(running):
            try:
                on_its_way = lane.advance(slice_seconds)
            except (ArithmeticError, ValueError, RuntimeError) as error:
                lane.failure, on_its_way = str(error), False
            if not on_its_way:
                running.remove(lane)
                yield lane
