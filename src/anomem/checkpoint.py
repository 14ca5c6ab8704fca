"""Saved models and training checkpoints: safetensors and JSON, written atomically, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from anomem.description import (
    DESCRIPTION,
    FORMAT_VERSION,
    ModelError,
    damaged,
    load_description,
)
from anomem.training.stage1 import Stage1State
from anomem.untrusted import check_regular

_WEIGHTS_OR_PART = re.compile(r"\.?weights-[0-9a-f]{16}\.safetensors(\.tmp)?")
_SHARE_OF_TIME = 0.02
_AT_A_TIME = 2**22
"""Numbers looked at in one go."""
_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "BOOL": torch.bool,
}
Check = Callable[[Mapping[str, Any], Mapping[str, Tensor]], None]


def save_folder(path: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model folder so that at every moment it is the old model, whole, or the new one.

    A new folder is filled under a temporary name and renamed. In an existing model folder the new
    weights are laid beside the old ones, and replacing the description that names them is the one
    step that counts.

    Args:
        path: The folder; absent, empty, or a model to replace.
        description: Everything beside the tensors, as JSON.
        tensors: By name.

    Raises:
        ModelError: ``path`` is something else.
    """
    weights = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    name = f"weights-{hashlib.sha256(weights).hexdigest()[:16]}.safetensors"
    about = {"format_version": FORMAT_VERSION, "weights": name, **description}
    text = json.dumps(about, indent=2, allow_nan=False).encode()
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and any(path.iterdir()):
        _write(path / name, weights)
        _write(path / DESCRIPTION, text)
        for old in path.iterdir():
            if _WEIGHTS_OR_PART.fullmatch(old.name) and old.name != name:
                old.unlink()
        return
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    _write(temporary / name, weights)
    _write(temporary / DESCRIPTION, text)
    os.rename(temporary, path)
    _sync(path.parent)


def check_writable(path: Path) -> None:
    """Refuse a place where a model folder would overwrite something else.

    Raises:
        ModelError: ``path`` is a file, or a folder with other things in it.
    """
    if path.exists() and not path.is_dir():
        raise ModelError(f"{path} is a file; give the name of a folder for the model.")
    if path.is_dir() and any(path.iterdir()) and not (path / DESCRIPTION).is_file():
        raise ModelError(f"{path} holds other files and no model; give another folder.")


def load_folder(
    path: Path, check: Check = lambda description, shapes: None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a model folder; runs no code from it.

    Args:
        path: The folder.
        check: Called with the description and the tensors, on the meta device, which has shapes
            and no values, before any value is read. May raise what is wrong with them.

    Returns:
        The description and the tensors, on the CPU.

    Raises:
        ModelError: ``path`` is not a whole model folder of this format, or holds a number that is
            not finite.
    """
    description = load_description(path)
    file = path / description["weights"]
    try:
        check_regular(file)
        shapes = _shapes(file)
        check(description, shapes)
        tensors = load_file(file)
        check_finite(tensors)
    except (SafetensorError, ValueError, OSError) as error:
        raise damaged(file, error) from error
    return description, tensors


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse numbers that are not finite.

    Raises:
        ValueError: A tensor holds some; it is named.
    """
    for name, tensor in tensors.items():
        parts = tensor.flatten().split(_AT_A_TIME) if tensor.is_floating_point() else ()
        if not all(torch.isfinite(part).all() for part in parts):
            raise ValueError(f"{name[:60]!r} holds numbers that are not finite")


def _shapes(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file without their values."""
    with safe_open(file, framework="pt") as opened:
        kinds = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
        unknown = {kind.get_dtype() for kind in kinds.values()} - _DTYPES.keys()
        if unknown:
            raise ValueError(f"it holds numbers of the kind {min(unknown)}")
        return {
            name: torch.empty(kind.get_shape(), dtype=_DTYPES[kind.get_dtype()], device="meta")
            for name, kind in kinds.items()
        }


class Stage1File:
    """The state of stage 1 in one file, replaced atomically as training goes.

    Args:
        path: The file.
        run: What the run is: choices, seed and images. A file of another run is refused.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        self.run = json.dumps(run, sort_keys=True)
        self._saved, self._cost = time.monotonic(), 0.0

    def load(self) -> Stage1State | None:
        """The state to go on from, None to start anew.

        Raises:
            ModelError: The file is damaged or of another run.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
            tensors = load_file(self.path)
            step, seconds = int(about["step"]), float(about["seconds"])
            loss, run = float(about["loss"]), about["run"]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ModelError(
                f"{self.path} is damaged ({error}); delete it and fit again."
            ) from error
        if run != self.run:
            raise ModelError(
                f"{self.path} belongs to a run with other images, choices or seed; repeat that "
                "run's command, or fit without resuming."
            )
        return Stage1State(step, seconds, loss, tensors)

    def offer(self, make_state: Callable[[], Stage1State], *, last: bool) -> None:
        """Save the state if it is the last, or if saving takes at most 2% of the time."""
        begun = time.monotonic()
        if not last and begun - self._saved < max(1.0, self._cost / _SHARE_OF_TIME):
            return
        state = make_state()
        tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}
        about = {
            "step": str(state.step),
            "seconds": repr(state.seconds),
            "loss": repr(state.loss),
            "run": self.run,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(self.path)
        save_file(tensors, temporary, metadata=about)
        _sync(temporary)
        os.replace(temporary, self.path)
        self._saved = time.monotonic()
        self._cost = self._saved - begun


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that stand under a prefix, without it."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _write(file: Path, content: bytes) -> None:
    temporary = _beside(file)
    temporary.write_bytes(content)
    _sync(temporary)
    os.replace(temporary, file)
    _sync(file.parent)


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.tmp")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
