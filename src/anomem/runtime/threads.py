"""How many threads compute, and PyTorch where a process has loaded it."""

from __future__ import annotations

import os
import sys
from typing import Any


def loaded_torch() -> Any:
    """Give PyTorch if this process has loaded it; None else: then nothing is a tensor of it."""
    return sys.modules.get("torch")


def threads() -> int:
    """Count the threads that compute: PyTorch's, or those of ``OMP_NUM_THREADS``, or all there are.

    >>> threads() >= 1
    True
    """
    torch = loaded_torch()
    if torch is not None and hasattr(torch, "get_num_threads"):  # it may be loading
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
