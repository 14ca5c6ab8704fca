"""The processes that share a fit: how they start, which one leads, what is said when one ends."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import Popen
from threading import Thread
from typing import Literal, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from anomem.runtime.device import make_fabric
from anomem.runtime.printing import tell

_MEND = "mend what ended it, and fit again with --resume."
_GRACE = 10.0
"""Seconds in which a process notices by itself that another one has ended."""
Decided = TypeVar("Decided")
_LOST = ("gloo", "connection closed", "connection reset", "broken pipe", "nccl")
"""Words of errors that mean a process no longer answers."""


def join_processes(
    device: str,
    precision: Literal["float32", "bf16"] | None = None,
    *,
    devices: int = 1,
    nodes: int = 1,
) -> Fabric:
    """Set up Lightning Fabric over all processes of a fit, started here unless torchrun did.

    On each node the first process starts the others by running its own command again, so more than
    one device needs a command or a script, not a notebook.

    Args:
        device: As of :func:`~anomem.runtime.device.make_fabric`.
        precision: As of there.
        devices: Processes on each node, one a GPU where there are GPUs.
        nodes: Machines; they find one another as torchrun, SLURM, or ``MASTER_ADDR``,
            ``MASTER_PORT`` and ``NODE_RANK`` say.

    Raises:
        ValueError: There are not so many devices, or torchrun started another number of processes.
    """
    fabric = make_fabric(device, precision, devices=devices, nodes=nodes)
    if TorchElasticEnvironment.detect():
        started, here = (int(os.environ[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        if started != devices * nodes:
            raise ValueError(
                f"torchrun started {started} processes but devices is {devices} and nodes is "
                f"{nodes}; give {here} devices and {started // here} nodes."
            )
    if devices * nodes > 1:
        with _silent(logging.getLogger("lightning_fabric")):
            fabric.launch()
        _watch(getattr(fabric.strategy.launcher, "procs", []))
    return fabric


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Without what is no warning."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _watch(started: list[Popen[bytes]]) -> None:
    """End this process where one that it started has failed and it does not notice.

    Lightning's own observer would end it within five seconds, mostly before it has said why.
    """
    others = started.copy()
    started.clear()  # which are those that Lightning observes
    if others:
        Thread(target=_watched, args=(others,), daemon=True).start()


def _watched(others: list[Popen[bytes]]) -> None:
    while not any(codes := [other.poll() for other in others]):
        if None not in codes:
            return
        time.sleep(1)
    time.sleep(_GRACE)
    tell(f"anomem: process 1 stops, as another one has ended; {_MEND}", error=True)
    for other in others:
        other.kill()
    os._exit(1)


def leads() -> bool:
    """Tell whether this process is alone, or the first that shares a fit: the one that writes."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def joined(fabric: Fabric, told: dict[str, str]) -> dict[str, str]:
    """Join what each process has to tell; all of them must ask."""
    if fabric.world_size == 1:
        return told
    every: list[dict[str, str]] = [{}] * fabric.world_size
    with together(fabric):
        torch.distributed.all_gather_object(every, told)
    return {name: why for each in every for name, why in each.items()}


def led(fabric: Fabric, decide: Callable[[], Decided]) -> Decided:
    """Let the first process decide for all; all of them must ask."""
    if fabric.world_size == 1:
        return decide()
    decided = [decide() if fabric.is_global_zero else None]
    with together(fabric):
        torch.distributed.broadcast_object_list(decided, src=0)
    assert decided[0] is not None
    return decided[0]


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Say in one sentence that another process has ended, where it no longer answers."""
    try:
        yield
    except RuntimeError as error:
        lost = any(word in str(error).lower() for word in _LOST)
        if fabric.world_size == 1 or not lost:
            raise
        # Without the place in PyTorch's source that it begins with, and the advice it ends with.
        reason = str(error).split("] ", 1)[-1].split(". ")[0]
        raise ConnectionError(
            f"process {fabric.global_rank + 1} of {fabric.world_size} stops, as another one has "
            f"ended ({reason}); {_MEND}"
        ) from error
