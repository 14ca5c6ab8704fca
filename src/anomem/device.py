"""Where a detector computes, and how precisely."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric


def make_fabric(device: str) -> Fabric:
    """Lightning Fabric on a device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Training runs in bf16 on a GPU and in float32 elsewhere.
    """
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
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return Fabric(
        accelerator=kind,
        devices=[int(number)] if number else 1,
        precision="bf16-mixed" if kind == "cuda" else "32-true",
    )
