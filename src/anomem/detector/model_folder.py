"""A detector as a model folder, and back: safetensors and JSON, written atomically, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save as serialised
from torch import Tensor

from anomem.detector.adapt import recalling
from anomem.detector.detector import Detector
from anomem.detector.feature_bank import FeatureBank, check_bank
from anomem.detector.frame import framing_of
from anomem.detector.model_info import (
    DESCRIPTION,
    FORMAT_VERSION,
    Described,
    damaged,
    load_description,
)
from anomem.detector.origins import read_origins, tensor_of
from anomem.detector.train_scorer import new_scorer, usual_wholes
from anomem.images.region import Region
from anomem.images.resize import ImageShape
from anomem.model.heat import HeatModel, new_heat
from anomem.model.network import MultiScaleMemory
from anomem.model.recall import kept_shape, without_allowed
from anomem.runtime.files import (
    locked,
    named_if_unwritten,
    remove_abandoned,
    try_folder,
    write_bytes,
)
from anomem.runtime.untrusted import ModelError, check_regular, one_line, read_json
from anomem.training.checkpoint import check_finite, under

_SPREAD = re.compile(
    r"scorer\.\w+\.std|network\.encoder\.std|network\.memories\.\d+\.level|heat\d+\.width"
)
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
Content = TypeVar("Content")
Check = Callable[[Mapping[str, Any], Mapping[str, Tensor]], None]


LOG = "training.csv"
"""The figures of a training, in the folder of the model that a command made."""


def save(detector: Detector, path: Path) -> None:
    """Write a detector as a model folder, atomically."""
    tensors = (
        prefixed("network", _network_state(without_allowed(detector.network)))
        | prefixed("scorer", detector.scorer.state_dict())
        | prefixed("bank", detector.bank.tensors())
    )
    for number, kind in enumerate(detector.heat):
        tensors |= prefixed(f"heat{number}", kind.state_dict())
    if detector.network.of_places:
        tensors["origins"] = tensor_of(detector.origins)
    if detector.framing.region is not None:
        tensors["region"] = torch.tensor(detector.framing.region)
    check_finite(tensors)
    description = {
        "config": asdict(detector.config),
        "shape": asdict(detector.framing.shape),
        "seed": detector.seed,
        "summary": detector.summary,
    }
    save_folder(path, description, tensors)


def load(path: Path, device: torch.device) -> Detector:
    """Read a detector from a model folder, with its network on a device.

    Raises:
        ModelError: The folder is not a whole model of this format, or a number in it is not finite
            or out of its range.
    """
    try:
        description, tensors = load_folder(path, check_shapes)
        return _assembled(Described.of(description), tensors, device)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise error if isinstance(error, ModelError) else damaged(path, error) from error
    except MemoryError as error:
        raise ModelError(
            f"{path} takes more memory than there is; free some, or use another model."
        ) from error


def _assembled(about: Described, tensors: Mapping[str, Tensor], device: torch.device) -> Detector:
    """The parts of a detector, from tensors of the right shapes."""
    config, shape = about.config, ImageShape(about.channels, about.height, about.width)
    network = _untrained(about, tensors)
    network.load_state_dict(under("network", tensors))
    origins = read_origins(network, tensors["origins"]) if network.of_places else ()
    scorer = new_scorer(network.pooled_widths, config).eval()
    scorer.load_state_dict(under("scorer", tensors))
    bank = FeatureBank.of(under("bank", tensors))
    scorer.remember(bank.remembered_images())
    scorer.whole = usual_wholes(bank, network.pooled_widths, config)
    heat = [HeatModel.of(under(f"heat{kind}", tensors)) for kind in range(_kinds(tensors))]
    _check_spreads(tensors)
    framing = framing_of(config, shape, _region(tensors))
    network = recalling(network.to(device), origins, bank)
    return Detector(
        config, framing, network, origins, scorer, heat, bank, about.summary, about.seed
    )


def _network_state(network: MultiScaleMemory) -> dict[str, Tensor]:
    """The tensors of a network as they are saved: weights of a frozen encoder in half precision."""
    halves = network.encoder.halves().items()
    return network.state_dict() | {f"encoder.backbone.{name}": v.half() for name, v in halves}


def check_shapes(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Hold the tensors of a model against its description, by their names, kinds and shapes.

    The modules are built on the meta device, where nothing has values.

    Raises:
        ValueError: The description is out of range, or a tensor is missing, unknown, or of another
            kind or shape than the choices ask for.
    """
    about = Described.of(description)
    if not timm.is_model(about.config.encoder.name):
        raise ValueError(f"there is no encoder {about.config.encoder.name!r}")
    with torch.device("meta"):
        network, heat = _on_meta(about, tensors)
        scorer = new_scorer(network.pooled_widths, about.config)
    wanted = prefixed("network", _network_state(network)) | prefixed("scorer", scorer.state_dict())
    for kind in range(_kinds(tensors)):
        wanted |= prefixed(f"heat{kind}", heat.state_dict())
    if network.of_places:
        wanted["origins"] = torch.empty(_rows(tensors, "origins"), dtype=torch.int64)
    bank = {f"bank.{name}" for name in under("bank", tensors)}
    for name in sorted(tensors.keys() - bank - {"region"} | wanted.keys()):
        _check_same(name, tensors.get(name), wanted.get(name))
    check_bank(
        under("bank", tensors),
        scales=len(network.memories),
        pooled=(network.kept_width, torch.float16 if network.of_places else torch.float32),
        places=kept_shape(network),
    )
    region = tensors.get("region")
    if region is not None and (region.dim() != 2 or region.dtype != torch.bool):
        raise ValueError("the region is no mask")


def _check_spreads(tensors: Mapping[str, Tensor]) -> None:
    """See that what is divided by is above 0."""
    for name, values in tensors.items():
        if _SPREAD.fullmatch(name) and (values <= 0).any():
            raise ValueError(f"{name} is divided by and not above 0")


def _untrained(about: Described, tensors: Mapping[str, Tensor]) -> MultiScaleMemory:
    """The network of a description; memories of places are as large as the tensors have them."""
    sizes = about.config.memory.sizes
    if about.config.memory.prototypes == "places":
        found = (f"network.memories.{scale}.prototypes" for scale in range(len(sizes)))
        sizes = tuple(_rows(tensors, name) for name in found)
    network = MultiScaleMemory(about.config, about.channels, initialise=False, sizes=sizes)
    return network.eval()


def _rows(tensors: Mapping[str, Tensor], name: str) -> int:
    """The first dimension of a tensor, at least 1."""
    return max(len(tensors[name]) if name in tensors and tensors[name].dim() else 0, 1)


def _on_meta(about: Described, tensors: Mapping[str, Tensor]) -> tuple[MultiScaleMemory, HeatModel]:
    """The network of a description, and what is usual at the places that it sees."""
    try:
        network = _untrained(about, tensors)
        images = torch.empty(1, about.channels, about.height, about.width)
        with torch.inference_mode():
            every = network.encoder.every_map(images)
    except Exception as error:  # An encoder may fail in any way on choices it was not made for.
        raise ValueError(f"its encoder cannot be built, {one_line(error)}") from error
    anywhere = about.config.images.framing == "tile"
    return network, new_heat(
        every[: 1 + int(network.encoder.finer)], len(network.patch_heads), anywhere=anywhere
    )


def _check_same(name: str, found: Tensor | None, wanted: Tensor | None) -> None:
    if found is None or wanted is None:
        raise ValueError(f"{name[:60]!r} is {'missing' if found is None else 'unknown'}")
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        kinds = (
            f"{' x '.join(map(str, each.shape)) or 'one number'} {str(each.dtype)[6:]}"
            for each in (found, wanted)
        )
        raise ValueError(f"{name} is {' where its choices ask for '.join(kinds)}")


def _kinds(tensors: Mapping[str, Tensor]) -> int:
    """Kinds of normal that a model has learnt one after the other, at least one."""
    found = (name for name in tensors if name.startswith("heat") and name.endswith(".level"))
    return max(1, sum(1 for _ in found))


def _region(tensors: Mapping[str, Tensor]) -> Region | None:
    region = tensors.get("region")
    if region is None:
        return None
    if not region.any():
        raise ValueError("the region holds no pixel")
    return region.numpy()


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
    weights = serialised({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
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
    """Refuse a folder where a model would overwrite something else.

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
    path: Path, check: Check = lambda *_: None
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
    """Read the files of a model folder by name, to be written elsewhere.

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
    """Name the file of a training's checkpoint: beside the folder of its model.

    It is within the folder where that is mounted, or nothing can be written beside it.
    """
    return _beside(model, "checkpoint")


def log_of(model: Path) -> Path:
    """Name the file of the figures of a training, beside its checkpoint until it is saved."""
    return _beside(model, LOG)


def _beside(model: Path, ending: str) -> Path:
    folder = Path(os.path.realpath(model))
    if folder.is_dir() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK)):
        return folder / f".{ending}"
    return folder.with_name(f"{folder.name}.{ending}")


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the tensors ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
