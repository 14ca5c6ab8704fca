"""Where a detector computes, and how precisely."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Of glibc: bytes from which a block is given back at once; free bytes kept at the end of the
heap."""
_KEPT = 2**30
"""Feature maps of a batch of large images are below it."""
_KEPT_BEFORE_2_35 = 2**25
"""The limit of older versions of glibc."""


def make_fabric(
    device: str,
    precision: Literal["float32", "bf16"] | None = None,
    *,
    devices: int = 1,
    nodes: int = 1,
) -> Fabric:
    """Lightning Fabric on a device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Args:
        device: See above.
        precision: Of training; None is bf16 on a GPU and float32 elsewhere.
        devices: Processes on each node, one a GPU where there are GPUs.
        nodes: Machines.

    Raises:
        ValueError: There is no such device, or there are not so many.
    """
    if min(devices, nodes) < 1:
        raise ValueError(f"devices is {devices} and nodes is {nodes}; give 1 or more of each.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise ValueError(f"device is {device!r}; give auto, cpu, cuda, cuda:1 or mps.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r} but no GPU is at hand; give cpu or auto.")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {device!r} but there are {torch.cuda.device_count()} GPUs; give cuda:0."
        )
    if devices > 1 and (number or (kind == "cuda" and devices > torch.cuda.device_count())):
        raise ValueError(
            f"device is {device!r} but devices is {devices} and there are "
            f"{torch.cuda.device_count()} GPUs; give cuda and at most as many devices, or cpu."
        )
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if precision is None:
        precision = "bf16" if kind == "cuda" else "float32"
    return Fabric(
        accelerator=kind,
        # Every step has the same graph; encoders may have layers beyond the last scale.
        strategy=DDPStrategy(static_graph=True) if devices * nodes > 1 else "auto",
        devices=[int(number)] if number else devices,
        num_nodes=nodes,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that nobody uses, those included that PyTorch holds back for new tensors."""
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + held


@contextmanager
def threads_given_back() -> Iterator[None]:
    """Set the number of threads back to what it was, whatever is set meanwhile."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def keep_freed_memory() -> None:
    """Let the process keep the memory of freed tensors for the next ones, once and for all.

    By default glibc gives large blocks back to the system at once and asks for them again at the
    next step; the page faults took a tenth of a step of training at 32 pixels and half of one at
    224 (docs/performance.md). :func:`give_back_freed_memory` is for the end of the work.

    Does nothing on other systems, nor where the environment sets ``MALLOC_*`` or
    ``GLIBC_TUNABLES``, or preloads another allocator.
    """
    by_name = any(name.startswith("MALLOC_") for name in os.environ)
    chosen = by_name or "LD_PRELOAD" in os.environ or "GLIBC_TUNABLES" in os.environ
    if sys.platform != "linux" or chosen:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        if not mallopt(_MMAP_THRESHOLD, _KEPT):
            mallopt(_MMAP_THRESHOLD, _KEPT_BEFORE_2_35)
        mallopt(_TRIM_THRESHOLD, -1)  # as much as there is


def give_back_freed_memory() -> None:
    """Let the system have what :func:`keep_freed_memory` has kept, once the work is done."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
