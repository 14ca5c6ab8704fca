"""A detector as a model folder, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from anomem import fitting
from anomem.checkpoint import load_folder, prefixed, save_folder, under
from anomem.config import Config
from anomem.data.shape import ImageShape
from anomem.description import ModelError
from anomem.device import make_fabric
from anomem.network.deviation import MultiScaleMemory
from anomem.network.places import UsualPlaces
from anomem.presets import overlaid
from anomem.reserve import Reserve

if TYPE_CHECKING:
    from anomem.detector import AnoMem


def save(model: AnoMem, path: Path) -> None:
    """Write a fitted detector as a model folder, atomically."""
    tensors = (
        prefixed("network", model.network_.state_dict())
        | prefixed("detector", model.detector_.state_dict())
        | prefixed("reserve", model.reserve_.tensors())
    )
    for number, kind in enumerate(model.places_):
        tensors |= prefixed(f"places{number}", kind.state_dict())
    if model.framing_.region is not None:
        tensors["region"] = torch.from_numpy(model.framing_.region)
    description = {
        "config": asdict(model.config_),
        "shape": asdict(model.framing_.shape),
        "seed": model.seed,
        "summary": model.summary_,
    }
    save_folder(path, description, tensors)


def load(path: str | Path, *, device: str = "auto") -> AnoMem:
    """Load a saved detector, on any device; runs no code from the folder.

    Args:
        path: A model folder.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        ModelError: The folder is not a whole model of this format.
    """
    from anomem.detector import AnoMem

    description, tensors = load_folder(Path(path))
    place = make_fabric(device).device
    try:
        config = overlaid(Config(), description["config"])
        model = AnoMem(config, device=device, seed=description["seed"])
        model.config_, model.summary_ = config, description["summary"]
        shape, region = ImageShape(**description["shape"]), tensors.get("region")
        model.framing_ = fitting.framing_of(
            config, shape, None if region is None else region.numpy()
        )
        model.network_ = _network(config, shape, under("network", tensors))
        model.network_.to(place)
        model.detector_ = fitting.new_detector(model.network_.pooled_widths, config).eval()
        model.detector_.load_state_dict(under("detector", tensors))
        model.reserve_ = Reserve.of(under("reserve", tensors))
        kinds = sum(name.startswith("places") and name.endswith(".level") for name in tensors)
        model.places_ = [UsualPlaces.of(under(f"places{kind}", tensors)) for kind in range(kinds)]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise ModelError(f"{path} is damaged ({first}); save or fit the model again.") from error
    return model


def _network(
    config: Config, shape: ImageShape, weights: dict[str, torch.Tensor]
) -> MultiScaleMemory:
    network = MultiScaleMemory(config, shape.channels, initialise=False)
    network.load_state_dict(weights)
    return network.eval()
