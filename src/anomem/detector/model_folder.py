"""A detector as a model folder, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor

from anomem.detector import fit as fitting
from anomem.detector.checkpoint import load_folder, prefixed, save_folder, under
from anomem.detector.feature_bank import FeatureBank, check_kept
from anomem.detector.measuring import new_heat
from anomem.detector.model_info import Described, damaged
from anomem.images.region import Region
from anomem.images.resize import ImageShape
from anomem.model.heat import HeatModel
from anomem.model.network import MultiScaleMemory
from anomem.runtime.device import make_fabric
from anomem.runtime.untrusted import ModelError, one_line
from anomem.training.checkpoint import check_finite

if TYPE_CHECKING:
    from anomem.detector.estimator import AnoMem

_SPREAD = re.compile(r"scorer\.\w+\.std|network\.encoder\.std|heat\d+\.width")


def save(model: AnoMem, path: Path) -> None:
    """Write a fitted detector as a model folder, atomically."""
    tensors = (
        prefixed("network", model.network_.state_dict())
        | prefixed("scorer", model.scorer_.state_dict())
        | prefixed("bank", model.bank_.tensors())
    )
    for number, kind in enumerate(model.heat_):
        tensors |= prefixed(f"heat{number}", kind.state_dict())
    if model.framing_.region is not None:
        tensors["region"] = torch.from_numpy(model.framing_.region)
    check_finite(tensors)
    description = {
        "config": asdict(model.config_),
        "shape": asdict(model.framing_.shape),
        "seed": model.seed,
        "summary": model.summary_,
    }
    save_folder(path, description, tensors)


def load(path: str | Path, *, device: str = "auto") -> AnoMem:
    """Load a saved detector, on any device.

    The folder may be anybody's: no code of it is run, nothing that it names is opened or fetched,
    and before memory is taken every shape is held against what its choices ask for.

    Args:
        path: A model folder.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        ModelError: The folder is not a whole model of this format, or a number in it is not finite
            or out of its range.
    """
    from anomem.detector.estimator import AnoMem

    place = make_fabric(device).device
    try:
        description, tensors = load_folder(Path(path), check_shapes)
        about = Described.of(description)
        config, shape = about.config, _shape(about)
        model = AnoMem(config, device=device, seed=about.seed)
        model.config_, model.summary_ = config, about.summary
        model.framing_ = fitting.framing_of(config, shape, _region(tensors))
        model.network_ = MultiScaleMemory(config, shape.channels, initialise=False).eval()
        model.network_.load_state_dict(under("network", tensors))
        model.network_.to(place)
        model.scorer_ = fitting.new_scorer(model.network_.pooled_widths, config).eval()
        model.scorer_.load_state_dict(under("scorer", tensors))
        model.bank_ = FeatureBank.of(under("bank", tensors))
        kinds = range(_kinds(tensors))
        model.heat_ = [HeatModel.of(under(f"heat{kind}", tensors)) for kind in kinds]
        _check_spreads(tensors)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise error if isinstance(error, ModelError) else damaged(Path(path), error) from error
    except MemoryError as error:
        raise ModelError(
            f"{path} takes more memory than there is; free some, or use another model."
        ) from error
    return model


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
        network, places = _on_meta(about)
        scorer = fitting.new_scorer(network.pooled_widths, about.config)
    wanted = prefixed("network", network.state_dict()) | prefixed("scorer", scorer.state_dict())
    for kind in range(_kinds(tensors)):
        wanted |= prefixed(f"heat{kind}", places.state_dict())
    bank = {f"bank.{name}" for name in under("bank", tensors)}
    for name in sorted(tensors.keys() - bank - {"region"} | wanted.keys()):
        _check_same(name, tensors.get(name), wanted.get(name))
    check_kept(
        under("bank", tensors),
        scales=len(network.memories),
        pooled=sum(network.pooled_widths),
    )
    region = tensors.get("region")
    if region is not None and (region.dim() != 2 or region.dtype != torch.bool):
        raise ValueError("the region is no mask")


def _check_spreads(tensors: Mapping[str, Tensor]) -> None:
    """See that what is divided by is above 0."""
    for name, values in tensors.items():
        if _SPREAD.fullmatch(name) and (values <= 0).any():
            raise ValueError(f"{name} is a standard deviation and not above 0")


def _on_meta(about: Described) -> tuple[MultiScaleMemory, HeatModel]:
    """The network of a description, and what is usual at the places that it sees."""
    try:
        network = MultiScaleMemory(about.config, about.channels, initialise=False).eval()
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


def _shape(about: Described) -> ImageShape:
    return ImageShape(about.channels, about.height, about.width)


def _region(tensors: Mapping[str, Tensor]) -> Region | None:
    region = tensors.get("region")
    if region is None:
        return None
    if not region.any():
        raise ValueError("the region holds no pixel")
    return region.numpy()
