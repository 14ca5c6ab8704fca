import time

import pytest
import torch

from check import lost
from turns import in_turn, ratio


def test_calls_take_turns_and_ratios_are_of_the_same_round() -> None:
    calls: list[str] = []

    def call(name: str, seconds: float) -> None:
        calls.append(name)
        time.sleep(seconds)

    seconds = in_turn(
        {"slow": lambda: call("slow", 0.02), "fast": lambda: call("fast", 0.01)},
        rounds=3,
        repeats=2,
        device=torch.device("cpu"),
    )
    assert calls == 4 * ["slow", "slow", "fast", "fast"]
    found = ratio(seconds, "fast", "slow")
    assert found["rounds"] == 3 and found["low"] <= found["ratio"] <= found["high"]
    assert found["ratio"] == pytest.approx(2, rel=0.5)


def test_a_ratio_counts_as_lost_once_it_falls_by_more_than_the_share() -> None:
    before = {"a": {"ratio": 0.9}, "b": {"ratio": 0.8}, "gone": {"ratio": 1.0}}
    now = {"a": {"ratio": 0.82}, "b": {"ratio": 0.7}, "new": {"ratio": 0.1}}
    assert lost(now, before, 0.1) == ["b"]
