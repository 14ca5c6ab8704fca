import pytest
import torch

from anomem.runtime.device import make_fabric, repeatable_kernels


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_unknown_device(device: str) -> None:
    with pytest.raises(ValueError, match="give auto, cpu, cuda, cuda:1 or mps"):
        make_fabric(device)


@pytest.mark.parametrize(
    ("device", "devices", "said"),
    [
        ("cpu", 0, "devices is 0 and nodes is 1; give 1 or more of each"),
        ("cpu:1", 2, "give cuda and at most as many devices, or cpu"),
    ],
)
def test_processes_need_devices(device: str, devices: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_fabric(device, devices=devices)


@pytest.mark.parametrize(
    ("chosen", "precision"), [(None, "32-true"), ("float32", "32-true"), ("bf16", "bf16-mixed")]
)
def test_precision_on_a_cpu_is_float32_unless_forced(chosen: str | None, precision: str) -> None:
    fabric = make_fabric("cpu", chosen)  # type: ignore[arg-type]
    assert fabric._precision.precision == precision


def test_kernels_are_repeatable_and_then_as_the_host_has_set_them() -> None:
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with repeatable_kernels():
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == before
