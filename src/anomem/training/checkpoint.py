"""The state of stage 1 in a file, to go on from after a kill."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from anomem.runtime.files import WriteError, write_bytes
from anomem.runtime.untrusted import ModelError, check_regular, one_line

_SHARE_OF_TIME = 0.02
_LEAST_SECONDS = 1.0
"""Between two states that are saved."""
_MOST_THREADS = 1024
_AT_A_TIME = 2**22
"""Numbers looked at in one go."""


@dataclass
class Stage1State:
    """Holds where stage 1 stands: all that a resumed run needs beside the choices and the images.

    Attributes:
        step: Steps done.
        seconds: Spent.
        loss: The last one.
        tensors: Weights, their average and momentum, and what the watch has seen.
        threads: Number of threads computed on; with another number sums are rounded otherwise.
    """

    step: int
    seconds: float
    loss: float
    tensors: dict[str, Tensor]
    threads: int = field(default_factory=torch.get_num_threads)


class Stage1File:
    """Keeps the state of stage 1 in one file, replaced atomically as training goes.

    Args:
        path: The file.
        run: What the run is: choices, seed and images. A file of another run is refused.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        self.run = json.dumps(run, sort_keys=True)
        self._saved, self._cost = time.monotonic(), 0.0

    def load(self) -> Stage1State | None:
        """Read the state to go on from, None to start anew.

        Raises:
            ModelError: The file is damaged or of another run.
        """
        if not self.path.exists():
            return None
        try:
            check_regular(self.path)
            content = self.path.read_bytes()
            tensors, about = load(content), _metadata(content)
            check_finite(tensors)
            step, threads = int(about["step"]), int(about["threads"])
            seconds, loss = float(about["seconds"]), float(about["loss"])
            run = about["run"]
            if step < 0 or not 1 <= threads <= _MOST_THREADS:
                raise ValueError(f"step {step}, {threads} threads")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ModelError(
                f"{self.path} is damaged ({one_line(error)}); delete it and fit again."
            ) from error
        if run != self.run:
            raise ModelError(
                f"{self.path} belongs to a run with other images, choices or seed; repeat that "
                "run's command, or fit without resuming."
            )
        return Stage1State(step, seconds, loss, tensors, threads)

    def offer(self, make_state: Callable[[], Stage1State], *, last: bool) -> None:
        """Save the state if it is the last, or if saving takes at most 2% of the time."""
        begun = time.monotonic()
        if not last and begun - self._saved < max(_LEAST_SECONDS, self._cost / _SHARE_OF_TIME):
            return
        state = make_state()
        tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}
        about = {
            "step": str(state.step),
            "seconds": repr(state.seconds),
            "loss": repr(state.loss),
            "threads": str(state.threads),
            "run": self.run,
        }
        try:
            write_bytes(self.path, save(tensors, metadata=about))
        except WriteError as error:
            warnings.warn(f"{error} The training goes on without it.", stacklevel=2)
        self._saved = time.monotonic()
        self._cost = self._saved - begun


def _metadata(content: bytes) -> dict[str, str]:
    """What a safetensors file says beside its tensors; its header is JSON behind its length."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return found


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors that stand under a prefix, without it."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse numbers that are not finite.

    Raises:
        ValueError: A tensor holds some; it is named.
    """
    for name, tensor in tensors.items():
        parts = tensor.flatten().split(_AT_A_TIME) if tensor.is_floating_point() else ()
        if not all(torch.isfinite(part).all() for part in parts):
            raise ValueError(f"{name[:60]!r} holds numbers that are not finite")
