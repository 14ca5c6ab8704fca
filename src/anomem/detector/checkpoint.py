"""Saved models and training checkpoints: safetensors and JSON, written atomically, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from anomem.detector.model_info import DESCRIPTION, FORMAT_VERSION, damaged, load_description
from anomem.runtime.files import (
    locked,
    named_if_unwritten,
    remove_abandoned,
    try_folder,
    write_bytes,
)
from anomem.runtime.untrusted import ModelError, check_regular, read_json
from anomem.training.checkpoint import check_finite

_WEIGHTS = re.compile(r"weights-[0-9a-f]{16}\.safetensors")
_GRACE = 60.0
"""Seconds that weights are left in peace where a folder cannot be locked."""
_TRIES = 20
"""To read weights: those that are named may be replaced before they are opened."""

_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "BOOL": torch.bool,
}
Check = Callable[[Mapping[str, Any], Mapping[str, Tensor]], None]
Content = TypeVar("Content")


def save_folder(path: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model folder so that at every moment it is the old model, whole, or the new one.

    The new weights are laid beside the old ones, and replacing the description that names them is
    the one step that counts. Processes that save to one folder take turns; the last one stays.

    Args:
        path: The folder; absent, without other files, or a model to replace.
        description: Everything beside the tensors, as JSON.
        tensors: By name.

    Raises:
        ModelError: ``path`` is something else.
        WriteError: It cannot be written; what was there is as it was.
    """
    weights = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    name = f"weights-{hashlib.sha256(weights).hexdigest()[:16]}.safetensors"
    about = {"format_version": FORMAT_VERSION, "weights": name, **description}
    text = json.dumps(about, indent=2, allow_nan=False).encode()
    check_writable(path)
    path = Path(os.path.realpath(path))
    with named_if_unwritten(path):
        path.mkdir(parents=True, exist_ok=True)
        with _turn(path) as alone:
            remove_abandoned(path)
            write_bytes(path / name, weights)
            write_bytes(path / DESCRIPTION, text)
            for old in path.iterdir():
                if _WEIGHTS.fullmatch(old.name) and old.name != name and (alone or _aged(old)):
                    old.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuse a place where a model would overwrite something else.

    Raises:
        ModelError: ``path`` is a file, or a folder with other things in it.
    """
    if not path.is_dir():
        if path.exists():
            raise ModelError(f"{path} is a file; give the name of a folder for the model.")
        return
    if (path / DESCRIPTION).exists():
        if not _is_description(path / DESCRIPTION):
            raise ModelError(
                f"{path} holds a {DESCRIPTION} that is of no anomem model; give another folder."
            )
    elif any(map(_is_foreign, path.iterdir())):
        raise ModelError(f"{path} holds other files and no model; give another folder.")


def try_model_folder(path: Path) -> None:
    """Try before the work whether a model can be saved in a folder after it.

    Raises:
        ModelError: A model would overwrite something else there.
        WriteError: Nothing can be written there.
    """
    check_writable(path)
    try_folder(path)


def _is_foreign(file: Path) -> bool:
    """Whether it was there for something else: no weights, nothing hidden, not of a file system."""
    name = file.name
    return not (_WEIGHTS.fullmatch(name) or name.startswith(".") or name == "lost+found")


def _is_description(file: Path) -> bool:
    try:
        found = read_json(file)
    except ValueError:
        return False
    return isinstance(found, dict) and {"format_version", "weights"} <= found.keys()


@contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    """Wait for other processes that save there; whether the folder could be locked."""
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield locked(descriptor, wait=True)
    finally:
        os.close(descriptor)


def _aged(file: Path) -> bool:
    """Whether no process can be about to name these weights."""
    try:
        return time.time() - file.stat().st_mtime > _GRACE
    except FileNotFoundError:
        return False


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
    return _of_one_model(path, lambda description, file: _checked(description, file, check))


def folder_content(path: Path) -> dict[str, bytes]:
    """The files of a model folder by name, to be written elsewhere.

    Raises:
        ModelError: ``path`` is not a whole model folder of this format.
    """
    description, weights = _of_one_model(path, lambda _, file: file.read_bytes())
    return {DESCRIPTION: json.dumps(description).encode(), description["weights"]: weights}


def _of_one_model(
    path: Path, read: Callable[[Mapping[str, Any], Path], Content]
) -> tuple[dict[str, Any], Content]:
    """A description and the weights that it names, also while another model is saved there."""
    for left in reversed(range(_TRIES)):
        description = load_description(path)
        file = path / description["weights"]
        try:
            check_regular(file)
            return description, read(description, file)
        except (SafetensorError, ValueError, OSError, RuntimeError) as error:
            if not left or "No such file" not in str(error):
                raise damaged(file, error) from error
        time.sleep(0.005)
    raise AssertionError("the last try ends in one way or the other")


def _checked(description: Mapping[str, Any], file: Path, check: Check) -> dict[str, Tensor]:
    with _as_utf8(file) as name:
        check(description, _shapes(name))
        tensors = load_file(name)
    check_finite(tensors)
    return tensors


@contextmanager
def _as_utf8(file: Path) -> Iterator[Path]:
    """The file under a name that is UTF-8, as safetensors opens no other."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        with TemporaryDirectory() as folder:
            link = Path(folder, "weights")
            link.symlink_to(file.absolute())
            yield link
    else:
        yield file


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


def checkpoint_of(model: Path) -> Path:
    """The file of a training's checkpoint: beside the folder of its model.

    It is within the folder where that is mounted, or nothing can be written beside it.
    """
    folder = Path(os.path.realpath(model))
    if folder.is_dir() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK)):
        return folder / ".checkpoint"
    return folder.with_name(f"{folder.name}.checkpoint")


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that stand under a prefix, without it."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
