"""Stage 1 shared by two processes (gloo), beside one process with the whole batch."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from running import two_by_torchrun
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor

from anomem.config import Config, EncoderChoices, Stage1Choices
from anomem.config.presets import paper, scratch
from anomem.images.prepare import PreparedImages
from anomem.model.network import MultiScaleMemory
from anomem.runtime.processes import join_processes
from anomem.training.optimisation import Clock
from anomem.training.ranks import ALONE, Ranks
from anomem.training.stage1 import Stage1

_STEPS = 3
# Batch norm would see other images in each process, so the encoder has group norm.
_ENCODER = EncoderChoices("test_efficientnet_gn", scales=(2, 3))
_PRESETS = {"scratch": scratch(), "paper": paper()}


def choices(preset: str) -> Config:
    config = _PRESETS[preset]
    return replace(
        config,
        encoder=_ENCODER,
        memory=replace(config.memory, sizes=(32, 16)),
        pseudo=replace(config.pseudo, kinds=("rotate90", "rotate180", "rotate270")),
        stage1=Stage1Choices(batch=16, learning_rate=0.02, averaging=0.9, anomaly_share=1.0),
    )


def digits(digit: int, count: int) -> PreparedImages:
    """Digits of scikit-learn, 32 x 32."""
    pixels, label = load_digits(return_X_y=True)
    chosen = pixels[label == digit][:count].reshape(-1, 1, 8, 8)
    enlarged = np.kron(chosen, np.ones((1, 3, 4, 4))) * 15.9
    return PreparedImages(torch.from_numpy(enlarged.astype(np.uint8)))


def learnt(config: Config, fabric: Fabric) -> dict[str, Tensor]:
    """The gradients of the first step, the weights after three, and every loss."""
    torch.manual_seed(0)
    network = MultiScaleMemory(config, 3)
    stage1 = Stage1(
        network,
        digits(0, 50),
        digits(1, 11),
        config,
        fabric=fabric,
        steps=_STEPS,
        seed=5,
        clock=Clock(),
    )
    found: dict[str, Tensor] = {}
    for step in stage1:
        found[f"loss.{step}"] = torch.tensor(stage1.loss)
        if step == 1:
            found |= {
                f"gradient.{name}": parameter.grad.clone()
                for name, parameter in network.named_parameters()
                if parameter.grad is not None
            }
    # What the watch has seen is of each process's own rows.
    state = {k: v for k, v in stage1.state().tensors.items() if not k.startswith("watch.")}
    return {name: value.contiguous() for name, value in (found | state).items()}


def _write(out: Path) -> None:
    fabric = join_processes("cpu", devices=2)
    torch.set_num_threads(1)
    for preset in _PRESETS:
        save_file(learnt(choices(preset), fabric), out / f"{preset}-{fabric.global_rank}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes learnt with each preset."""
    out = tmp_path_factory.mktemp("shared")
    code = f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')"
    processes = two_by_torchrun(out, code=code)
    assert [process.ended() for process in processes] == [0, 0], processes[0].err
    return out


@pytest.mark.parametrize("preset", _PRESETS)
def test_two_processes_learn_what_one_learns_from_the_whole_batch(
    shared: Path, preset: str
) -> None:
    first, second = (load_file(shared / f"{preset}-{rank}") for rank in range(2))
    whole = learnt(choices(preset), join_processes("cpu"))
    assert first.keys() == second.keys() == whole.keys()
    for name, expected in whole.items():
        assert torch.equal(first[name], second[name]), name
        most = float(expected.abs().max()) or 1.0
        assert float((first[name] - expected).abs().max()) < 1e-4 * most, name
    prototypes = [name for name in whole if "gradient" in name and "prototypes" in name]
    assert len(prototypes) == 2 and all(whole[name].abs().max() > 0 for name in prototypes)


def test_rows_are_dealt_like_cards() -> None:
    rows = torch.arange(6)
    dealt = [Ranks(None, rank, 2).own(rows).tolist() for rank in range(2)]
    assert dealt == [[0, 2, 4], [1, 3, 5]]
    assert ALONE.own(rows).tolist() == rows.tolist()


@pytest.mark.parametrize(("rows", "even"), [(16, 15), (15, 15), (2, 3), (0, 3)])
def test_parts_of_a_batch_are_multiples_of_the_processes(rows: int, even: int) -> None:
    assert Ranks(None, 0, 3).even(rows) == even


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
