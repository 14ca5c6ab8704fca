import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch

from anomem.images.image_set import ImageSet
from anomem.images.prepare import PreparedImages
from anomem.images.resize import ImageShape
from anomem.training.optimisation import Clock
from anomem_bench.contender import Contender, Scores, TrainingSet
from anomem_bench.exam import Judgement, Measures
from anomem_bench.race import Lane, race

NORMALS = PreparedImages(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
IMAGES = TrainingSet(NORMALS, None, ImageShape(1, 8, 8))


class Runner(Contender):
    """A method whose steps take a given time."""

    def __init__(self, diary: list[str], name: str, step: float, finish: float = 0.0) -> None:
        super().__init__()
        self.score_names = (name,)
        self.diary, self.name, self.step_seconds, self.finish_seconds = diary, name, step, finish
        self.finished = 0

    def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:  # noqa: ARG002 (of all)
        steps = 0
        while clock.share() < 1:
            begun = time.monotonic()
            time.sleep(self.step_seconds)
            steps += 1
            self.diary.append(self.name)
            clock.spent += time.monotonic() - begun
            yield steps

    def finish(self) -> None:
        time.sleep(self.finish_seconds)
        self.finished += 1

    def scores(self, images: ImageSet) -> Scores:
        return {self.name: np.zeros(len(images), dtype=np.float32)}

    def features(self, images: ImageSet) -> torch.Tensor:
        return torch.zeros(len(images), 1)


def judged(share: float) -> Judgement:
    return {"share": {"": Measures({"share": share}, 1)}}


def slow_judge(_: Contender, share: float) -> Judgement:
    time.sleep(0.2)
    return judged(share)


def lanes_of(runners: Sequence[Contender], budget: float) -> list[Lane]:
    return [Lane(runner, IMAGES, budget, slow_judge) for runner in runners]


def test_contenders_take_turns_and_get_the_same_seconds() -> None:
    diary: list[str] = []
    runners = [Runner(diary, "fast", 0.005), Runner(diary, "slow", 0.02)]
    lanes = list(race(lanes_of(runners, 0.6), slice_seconds=0.1))
    assert {lane.contender for lane in lanes} == set(runners)
    for lane in lanes:
        assert lane.seconds == pytest.approx(0.6, abs=0.06)
        assert lane.marks == {m: judged(m) for m in (0.25, 0.5, 1.0)}
    turns = sum(a != b for a, b in pairwise(diary))
    assert turns >= 8
    steps = {lane.contender: lane.steps for lane in lanes}
    assert steps[runners[0]] > 2 * steps[runners[1]]


def test_what_follows_the_training_is_in_the_budget() -> None:
    runner = Runner([], "one", 0.005, finish=0.15)
    (lane,) = race(lanes_of([runner], 0.8))
    assert lane.seconds == pytest.approx(0.8, abs=0.06)
    assert runner.finished == 3


def test_initialisation_is_in_the_budget() -> None:
    class LateStarter(Runner):
        def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:
            time.sleep(0.2)
            yield from super().begin(images, clock)

    (lane,) = race(lanes_of([LateStarter([], "late", 0.005)], 0.8))
    assert lane.seconds == pytest.approx(0.8, abs=0.06)


def test_a_processor_s_seconds_leave_out_the_time_that_others_take() -> None:
    class Held(Runner):
        """Waits between its steps, as on a machine that has other work."""

        def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:  # noqa: ARG002 (of all)
            steps = 0
            while clock.share() < 1:
                begun = clock.now()
                time.sleep(0.01)
                _ = torch.ones(200, 200) @ torch.ones(200, 200)
                steps += 1
                clock.spent += clock.now() - begun
                yield steps

    budget = 0.05
    lane = Lane(Held([], "held", 0.0), IMAGES, budget, slow_judge, time.process_time)
    begun = time.monotonic()
    list(race([lane]))
    assert lane.seconds == pytest.approx(budget, abs=0.03)
    assert time.monotonic() - begun > 3 * budget


def test_a_contender_that_fails_does_not_stop_the_others() -> None:
    runners = [Runner([], "one", 0.005, finish=0.2), Runner([], "two", 0.005)]
    failed, done = race(lanes_of(runners, 0.2))
    assert "a budget of 0.2 s leaves too little time to train" in str(failed.failure)
    assert done.failure is None and 1.0 in done.marks


def test_a_mark_is_not_overrun_by_a_turn() -> None:
    seen: dict[float, float] = {}
    lane = Lane(Runner([], "one", 0.005), IMAGES, 0.8, lambda *_: {})
    while lane.advance(10.0):
        seen[max(lane.marks)] = lane.seconds
    assert seen[0.25] == pytest.approx(0.2, abs=0.03)
    assert seen[0.5] == pytest.approx(0.4, abs=0.03)


def test_who_ends_before_a_mark_is_there_what_it_is_at_its_end() -> None:
    class Sprinter(Runner):
        def begin(self, images: TrainingSet, clock: Clock) -> Iterator[int]:  # noqa: ARG002
            return iter(())

    (lane,) = race(lanes_of([Sprinter([], "quick", 0.0)], 5.0))
    assert lane.seconds < 1 and lane.steps == 0
    assert lane.marks == {share: judged(1.0) for share in (0.25, 0.5, 1.0)}
