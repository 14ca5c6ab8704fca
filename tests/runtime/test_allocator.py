import os
import platform
import resource

import pytest
from running import Command

_FAULTS = """
import ctypes, resource, sys, torch
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages: one of them is one fault for 2 MiB
from anomem.runtime.allocator import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        [torch.ones(int(sys.argv[1])) for _ in range(2)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def pages():
    return int(open("/proc/self/statm").read().split()[1])
faults()
print(faults())
before = pages()
give_back_freed_memory()
print(before - pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
@pytest.mark.skipif(
    any(name.startswith(("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")) for name in os.environ),
    reason="the environment says what is kept",
)
@pytest.mark.parametrize("mebibytes", [4, 128])
def test_freed_memory_is_kept_while_it_works_unless_the_environment_says_otherwise(
    mebibytes: int,
) -> None:
    if mebibytes > 32 and tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 35):
        pytest.skip("this glibc keeps no larger blocks than 32 MiB")

    def told(**environment: str) -> tuple[int, int]:
        done = Command(mebibytes * 2**18, code=_FAULTS, **environment)
        assert done.ended() == 0, done.err
        faults, given_back = map(int, done.out.split())
        return faults, given_back

    never_kept, _ = told(MALLOC_MMAP_THRESHOLD_="131072")  # else glibc adapts it to what is freed
    if never_kept == 0:
        pytest.skip("this kernel counts no page faults")
    faults, given_back = told()
    assert faults < 100 < 1000 < never_kept
    assert given_back > 0.9 * 2 * mebibytes * 2**20 / resource.getpagesize()
