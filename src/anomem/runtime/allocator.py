"""What glibc's allocator does with the memory of freed tensors."""

from __future__ import annotations

import ctypes
import os
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
"""Of glibc: bytes from which a block is given back at once; free bytes kept at the end of the
heap; heaps of which threads take turns."""
_KEPT = 2**30
"""Feature maps of a batch of large images are below it."""
_KEPT_BEFORE_2_35 = 2**25
"""The limit of older versions of glibc."""


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones, from here on.

    By default glibc gives large blocks back to the system at once and asks for them again at the
    next step; the page faults took a tenth of a step of training at 32 pixels and half of one at
    224 (docs/results/performance.md). The command line does so; a program that fits in Python may.
    :func:`give_back_freed_memory` is for the end of the work. All threads share one heap: those
    that decode come and go, and each would leave a heap of its own behind that grows by and by.

    Does nothing on other systems, nor where the environment sets ``MALLOC_*`` or
    ``GLIBC_TUNABLES``, or preloads another allocator.
    """
    by_name = any(name.startswith("MALLOC_") for name in os.environ)
    chosen = by_name or "LD_PRELOAD" in os.environ or "GLIBC_TUNABLES" in os.environ
    mallopt = None if chosen else _of_glibc("mallopt")
    if mallopt is not None:
        if not mallopt(_MMAP_THRESHOLD, _KEPT):
            mallopt(_MMAP_THRESHOLD, _KEPT_BEFORE_2_35)
        mallopt(_TRIM_THRESHOLD, -1)  # as much as there is
        mallopt(_ARENA_MAX, 1)


def give_back_freed_memory() -> None:
    """Let the system have what :func:`keep_freed_memory` has kept, once the work is done."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
