from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from digit_images import Digits
from lightning_fabric import Fabric

from anomem.config import (
    Config,
    EncoderChoices,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    Stage1Choices,
)
from anomem.model.network import MultiScaleMemory
from anomem.runtime.progress import Progress
from anomem.training.checkpoint import Stage1File, Stage1State
from anomem.training.optimisation import Clock
from anomem.training.stage1 import Stage1, compiles, resolve_steps, train_stage1

CONFIG = Config(
    encoder=EncoderChoices(width=4, stem_stride=1),
    memory=MemoryChoices(sizes=(8, 6), beta=10.0),
    loss=LossChoices(temperature=0.2, soft_class=10.0, kind_weight=0.5, patch_weight=0.5),
    pseudo=PseudoChoices(kinds=("rotate90", "rotate270")),
    stage1=Stage1Choices(batch=24, learning_rate=0.05, averaging=0.5),
)
STEPS = 12


class PowerCut(Exception):
    """The machine goes down."""


class Diary(Stage1File):
    """Keeps every state in memory, and may end the run after a step."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.fails_after = fails_after
        self.states: list[Stage1State] = []

    def load(self) -> Stage1State | None:
        return self.states[-1] if self.states else None

    def offer(self, make_state: Callable[[], Stage1State], *, last: bool) -> None:
        state = make_state()
        tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
        self.states.append(replace(state, tensors=tensors))
        if state.step == self.fails_after and not last:
            self.fails_after = None
            raise PowerCut


def network_of(config: Config = CONFIG) -> MultiScaleMemory:
    torch.manual_seed(0)
    return MultiScaleMemory(config, channels=1)


def train(  # noqa: PLR0913 - each test changes one of them
    network: MultiScaleMemory,
    file: Diary | None = None,
    *,
    config: Config = CONFIG,
    anomalies: Digits | None = None,
    steps: int = STEPS,
    seed: int = 5,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Stage1State:
    stage1 = Stage1(
        network, Digits(3), anomalies, config, fabric=Fabric(accelerator="cpu", devices=1),
        steps=steps, seed=seed, clock=Clock(seconds),
    )  # fmt: skip
    return train_stage1(stage1, file=file, progress=progress)


def test_a_collapse_is_told_by_half_of_the_training_and_once() -> None:
    forgetful = replace(
        CONFIG,
        memory=replace(CONFIG.memory, beta=1e-3),
        loss=LossChoices(temperature=0.2),
        pseudo=PseudoChoices(),
    )
    diary = Diary()

    def interrupted_twice() -> None:
        for diary.fails_after in (104, 120):
            with pytest.raises(PowerCut):
                train(network_of(forgetful), diary, config=forgetful, steps=204)

    with pytest.warns(UserWarning, match="the mean of all 8 prototypes") as warned:
        interrupted_twice()
    assert len(warned) == 1 and "after 102 steps" in str(warned[0].message)


def test_training_reduces_the_loss() -> None:
    network, diary = network_of(), Diary()
    before = {name: value.clone() for name, value in network.named_parameters()}
    state = train(network, diary, anomalies=Digits(8), steps=40)
    losses = [state.loss for state in diary.states]
    assert sum(losses[-10:]) < sum(losses[:10]) - 1
    assert state.step == 40 and state.seconds > 0 and not network.training
    for name, value in network.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_frozen_encoder_stays_as_it_is_while_memories_learn() -> None:
    config = replace(CONFIG, encoder=replace(CONFIG.encoder, frozen=True))
    network = network_of(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(network, config=config, steps=3)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("encoder."), name


@pytest.mark.parametrize(("labels", "drawn"), [(1, 1), (4, 1), (30, 6), (60, 8)])
def test_few_labelled_anomalies_are_few_in_a_batch(labels: int, drawn: int) -> None:
    """Of 24 normals half as many, times n / (n + 30); drawn as often as they are, they are all."""
    for share, expected in ((0.5, drawn), (None, round(24 * labels / 60))):
        config = replace(CONFIG, stage1=replace(CONFIG.stage1, anomaly_share=share))
        stage1 = Stage1(
            network_of(config), Digits(3), Digits(8, labels), config,
            fabric=Fabric(accelerator="cpu", devices=1), steps=3, seed=0, clock=Clock(None),
        )  # fmt: skip
        assert int((stage1.batches.at(0).kind == 1).sum()) == max(expected, 1)


@pytest.fixture(scope="module")
def whole() -> tuple[MultiScaleMemory, Stage1State]:
    """Trained without an interruption."""
    network, diary = network_of(), Diary()
    train(network, diary, anomalies=Digits(8))
    return network, diary.states[-1]


@pytest.mark.parametrize("cut", [1, 7, STEPS])
def test_interrupted_run_ends_as_the_uninterrupted(
    cut: int, whole: tuple[MultiScaleMemory, Stage1State]
) -> None:
    diary = Diary(fails_after=cut)
    with pytest.raises(PowerCut):
        train(network_of(), diary, anomalies=Digits(8))
    assert diary.states[-1].step == cut
    torch.manual_seed(99)
    resumed = MultiScaleMemory(CONFIG, channels=1)
    state = train(resumed, diary, anomalies=Digits(8))
    assert state.step == STEPS
    network, uninterrupted = whole
    torch.testing.assert_close(resumed.state_dict(), network.state_dict(), rtol=0, atol=0)
    # What the watch has seen too, so that it tells the same of the training.
    last = diary.states[-1].tensors
    assert "watch.0.contrast" in last
    torch.testing.assert_close(last, uninterrupted.tensors, rtol=0, atol=0)


def test_finished_run_is_not_trained_on() -> None:
    network, diary = network_of(), Diary()
    train(network, diary)
    offered = len(diary.states)
    again = network_of()
    state = train(again, diary)
    assert state.step == STEPS and len(diary.states) == offered + 1
    torch.testing.assert_close(again.state_dict(), network.state_dict(), rtol=0, atol=0)
    assert torch.equal(
        diary.states[-1].tensors["momentum.memories.0.prototypes"],
        diary.states[-2].tensors["momentum.memories.0.prototypes"],
    )


def test_same_seed_same_weights() -> None:
    first, second, other = network_of(), network_of(), network_of()
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        train(network, seed=seed, steps=4)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    prototypes = [next(n.scale_memories()).prototypes for n in (first, other)]
    assert not torch.equal(*prototypes)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, pseudo=PseudoChoices()),
        replace(CONFIG, loss=LossChoices()),
        replace(CONFIG, stage1=Stage1Choices(batch=500)),
        replace(CONFIG, memory=MemoryChoices(sizes=(8, 6), steps=3, unit_norm=False)),
    ],
)
def test_other_choices_train_too(config: Config) -> None:
    state = train(network_of(config), config=config, steps=3)
    assert state.step == 3 and np.isfinite(state.loss)


def test_the_clock_ends_the_training() -> None:
    state = train(network_of(), steps=100_000, seconds=0.3)
    assert 1 <= state.step < 1000 and 0.3 <= state.seconds < 5


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int]] = []
    train(network_of(), steps=3, progress=lambda done, steps: told.append((done, steps)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_diverging_loss_names_the_learning_rate() -> None:
    config = replace(CONFIG, stage1=replace(CONFIG.stage1, learning_rate=1e30, warmup=0.0))
    with pytest.raises(FloatingPointError, match=r"lower stage1\.learning_rate"):
        train(network_of(), config=config)


@pytest.mark.parametrize(
    ("choices", "normals", "steps"),
    [
        (Stage1Choices(epochs=10, batch=100, min_steps=1), 1000, 100),
        (Stage1Choices(epochs=10, batch=100, min_steps=1), 1001, 101),
        (Stage1Choices(epochs=10, batch=100, min_steps=1), 20, 10),
        (Stage1Choices(epochs=0.5, batch=100, min_steps=1), 1000, 5),
        (Stage1Choices(epochs=10, batch=100, min_steps=300), 1000, 300),
        (Stage1Choices(epochs=10, batch=100, min_steps=1, max_steps=40), 1000, 40),
        (Stage1Choices(epochs=10, batch=100, min_steps=300, max_steps=40), 1000, 40),
    ],
)
def test_steps_follow_epochs_within_their_bounds(
    choices: Stage1Choices, normals: int, steps: int
) -> None:
    assert resolve_steps(choices, normals) == steps


@pytest.mark.parametrize(
    ("chosen", "device", "steps", "expected"),
    [
        (None, "cpu", 10**6, False),
        (None, "cuda", 100, False),
        (None, "cuda", 10_000, True),
        (True, "cpu", 1, True),
        (False, "cuda", 10**6, False),
    ],
)
def test_the_encoder_is_compiled_on_a_gpu_with_steps_enough_unless_forced(
    chosen: bool | None, device: str, steps: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomem.training.stage1.can_compile", lambda: True)
    assert compiles(chosen, torch.device(device), steps) is expected
    monkeypatch.setattr("anomem.training.stage1.can_compile", lambda: False)
    assert compiles(chosen, torch.device(device), steps) is bool(chosen)
