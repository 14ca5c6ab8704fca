"""Where a detector computes, and how precisely."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy


def make_fabric(
    device: str,
    precision: Literal["float32", "bf16"] | None = None,
    *,
    devices: int = 1,
    nodes: int = 1,
) -> Fabric:
    """Set up Lightning Fabric on a device: "auto", "cpu", "cuda", "cuda:1" or "mps".

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
    """Count the bytes of a GPU that nobody uses, with those PyTorch holds back for new tensors."""
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + held


@contextmanager
def repeatable_kernels() -> Iterator[None]:
    """Let cuDNN take one deterministic algorithm for a shape, so that numbers repeat."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@contextmanager
def threads_given_back() -> Iterator[None]:
    """Set the number of threads back to what it was, whatever is set meanwhile."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
