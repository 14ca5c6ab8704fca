import os
import platform
import resource
import subprocess
import sys

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
    if never_kept < 1000:  # it touches 8 blocks of at least 1,024 pages
        pytest.skip("this kernel does not count every page fault")
    faults, given_back = told()
    assert faults < 100
    assert given_back > 0.9 * 2 * mebibytes * 2**20 / resource.getpagesize()


_HEAPS = """
import ctypes, sys, threading
from anomem.runtime.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc, together = ctypes.CDLL(None), threading.Barrier(4)
def take():
    taken = bytearray(4096)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has heaps of threads")
@pytest.mark.skipif(
    any(name.startswith(("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")) for name in os.environ),
    reason="the environment says what is kept",
)
def test_threads_that_come_and_go_leave_no_heap_behind() -> None:
    def heaps(how: str) -> int:
        words = [sys.executable, "-c", _HEAPS, how]  # not of Command, whose origin has had threads
        return subprocess.run(words, check=True, capture_output=True).stdout.count(b"<heap nr=")

    assert heaps("kept") == 1 < heaps("not kept")
