import json
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from power import PowerCut, cut_power_at
from safetensors.torch import load_file, save_file

from anomem.runtime.untrusted import ModelError
from anomem.training.checkpoint import Stage1File, Stage1State

RUN = {"seed": 3, "images": [10, 0], "config": {"sizes": (512, 256)}}


def state_of(step: int) -> Stage1State:
    return Stage1State(step, 1 / 3, 0.1 + step, {"network.w": torch.full((3, 2), step / 7)})


def test_state_of_stage_1_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "stage1.safetensors"
    assert Stage1File(file, RUN).load() is None
    Stage1File(file, RUN).offer(lambda: state_of(4), last=True)
    state = Stage1File(file, json.loads(json.dumps(RUN))).load()
    assert state is not None
    assert (state.step, state.seconds, state.loss) == (4, 1 / 3, 4.1)
    assert torch.equal(state.tensors["network.w"], torch.full((3, 2), 4 / 7))
    assert [found.name for found in file.parent.iterdir()] == [file.name]


def test_run_that_never_had_a_loss(tmp_path: Path) -> None:
    keeper = Stage1File(tmp_path / "s", RUN)
    keeper.offer(lambda: Stage1State(0, 0.0, float("nan"), {}), last=True)
    state = keeper.load()
    assert state is not None and state.loss != state.loss


def test_saving_keeps_to_its_share_of_the_time(tmp_path: Path) -> None:
    made: list[int] = []

    def make_state() -> Stage1State:
        made.append(1)
        return state_of(1)

    keeper = Stage1File(tmp_path / "s", RUN)
    for _ in range(1000):
        keeper.offer(make_state, last=False)
    assert not made
    keeper.offer(make_state, last=True)
    assert len(made) == 1


@pytest.mark.parametrize("other", [{**RUN, "seed": 4}, {**RUN, "images": [11, 0]}, {}])
def test_file_of_another_run_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    Stage1File(tmp_path / "s", RUN).offer(lambda: state_of(1), last=True)
    with pytest.raises(ModelError, match="run with other images, choices or seed") as error:
        Stage1File(tmp_path / "s", other).load()
    assert "\n" not in str(error.value)


def test_damaged_state_is_told(tmp_path: Path) -> None:
    file = tmp_path / "s"
    Stage1File(file, RUN).offer(lambda: state_of(1), last=True)
    whole, tensors = file.read_bytes(), load_file(file)
    for content in (b"", b"rubbish", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="delete it and fit again") as error:
            Stage1File(file, RUN).load()
        assert "\n" not in str(error.value)
    save_file(tensors, file)
    with pytest.raises(ModelError, match="delete it and fit again"):
        Stage1File(file, RUN).load()


def test_power_cut_leaves_the_earlier_state_or_the_later(tmp_path: Path) -> None:
    found = []
    for call in range(1, 100):
        keeper = Stage1File(tmp_path / str(call), RUN)
        keeper.offer(lambda: state_of(1), last=True)
        with pytest.MonkeyPatch.context() as patch:
            made = cut_power_at(patch, call)
            with suppress(PowerCut):
                keeper.offer(lambda: state_of(2), last=True)
            done = made() < call
        state = keeper.load()
        assert state is not None
        assert (state.tensors["network.w"] == state_of(state.step).tensors["network.w"]).all()
        found.append(state.step)
        if done:
            break
    assert found == sorted(found) and found[0] == 1 and found[-1] == 2


def test_a_state_that_cannot_be_kept_is_told_and_the_earlier_one_stays(tmp_path: Path) -> None:
    keeper = Stage1File(tmp_path / "s", RUN)
    keeper.offer(lambda: state_of(1), last=True)
    large = Stage1State(2, 0.0, 0.0, {"network.w": torch.zeros(10_000)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.warns(UserWarning, match=r"s cannot be written \(File too large\).* goes on"):
            keeper.offer(lambda: large, last=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    state = keeper.load()
    assert state is not None and state.step == 1
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_a_folder_whose_name_is_no_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    Stage1File(folder / "s", RUN).offer(lambda: state_of(4), last=True)
    state = Stage1File(folder / "s", RUN).load()
    assert state is not None and state.step == 4
