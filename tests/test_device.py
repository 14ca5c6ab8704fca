import platform

import pytest
from running import Command

from anomem.device import make_fabric

_FAULTS = """
import resource, torch
from anomem.device import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [torch.ones(2**20) for _ in range(32)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise() -> None:
    def faults(**environment: str) -> int:
        done = Command(code=_FAULTS, **environment)
        assert done.ended() == 0, done.err
        return int(done.out)

    given_back = faults(MALLOC_ARENA_MAX="8")
    if given_back == 0:
        pytest.skip("this kernel counts no page faults")
    assert faults() < 100 < 1000 < given_back
