"""Gradients of every convolution on the kernels of this machine; ``.ci/run`` has older ones too."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from anomem.config import EncoderChoices
from anomem.config.presets import PRESETS, scratch
from anomem.model.encoder import Encoder
from anomem_bench.methods import METHODS
from anomem_bench.protocols.ablation import variants

_CONFIGS = [
    *(preset() for preset in PRESETS.values()),
    *(method.config for method in (METHODS | variants("backbone", "scratch")).values()),
]
USED = {replace(config.encoder, weights=None, frozen=False) for config in _CONFIGS}
NARROW = {EncoderChoices(width=width, stem_stride=1) for width in (4, 12)}


def named(choices: EncoderChoices) -> str:
    return f"{choices.name}-{choices.width}-{choices.stem_stride}"


def in_order(encoders: set[EncoderChoices]) -> list[EncoderChoices]:
    return sorted(encoders, key=named)


def farthest_gradient(choices: EncoderChoices, side: int) -> float:
    """Largest error of a gradient of a convolution, as a share of the largest value in it.

    Each layer, given the maps that reach it, is compared with itself in float64 on contiguous ones:
    one of those that are alike, of the encoder of grey images and of that of coloured ones.
    """
    reached: dict[object, tuple[nn.Conv2d, Tensor]] = {}

    def note(layer: nn.Conv2d, given: tuple[Tensor]) -> None:
        alike = (layer.weight.shape, layer.stride, layer.groups, given[0].shape)
        reached.setdefault(alike, (layer, given[0]))

    for channels in (1, 3):
        encoder = Encoder(choices, channels)
        for layer in encoder.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_pre_hook(note)
        with torch.no_grad():
            encoder(torch.rand(8, channels, side, side))
    errors = []
    for layer, maps in list(reached.values()):
        exact = copy.deepcopy(layer).double().to(memory_format=torch.contiguous_format)
        given = maps.clone().requires_grad_()
        made = layer(given)
        towards = torch.randn_like(made)
        made.backward(towards)
        exactly = maps.double().contiguous().requires_grad_()
        with torch.autocast("cpu", enabled=False):
            exact(exactly).backward(towards.double().contiguous())
        for ours, theirs in ((layer.weight.grad, exact.weight.grad), (given.grad, exactly.grad)):
            assert ours is not None and theirs is not None
            errors.append(float((ours - theirs).abs().max() / theirs.abs().max()))
    return max(errors)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """What one thread writes outside its memory ends the process; two may only compute wrongly."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("choices", in_order(USED), ids=named)
def test_gradients_are_those_of_float64(choices: EncoderChoices) -> None:
    assert farthest_gradient(choices, 16) < 1e-4


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("choices", in_order(NARROW), ids=named)
def test_gradients_of_narrow_layers_are_right(choices: EncoderChoices) -> None:
    assert farthest_gradient(choices, 32) < 1e-4


@pytest.mark.parametrize("choices", [scratch().encoder, *in_order(NARROW)], ids=named)
def test_gradients_in_bfloat16_are_as_near_as_it_can_tell(choices: EncoderChoices) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert farthest_gradient(choices, 16) < 0.03
