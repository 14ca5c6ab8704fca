"""The untrained network of a fit."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from lightning_fabric import Fabric
from torch import Tensor

from anomem.config import Config
from anomem.images.image_set import Chosen, floats_on, to_float
from anomem.images.resize import ImageShape
from anomem.model.network import MultiScaleMemory

_LOOKED_AT = 50
_ALIKE = 1 / 255
"""Standard deviation of pixels, on a 0 to 1 scale, below which there is nothing to learn from: that
of a camera's noise is higher."""
NORMALISATION_SAMPLE = 2000


def new_network(
    config: Config, shape: ImageShape, normals: Chosen, fabric: Fabric, seed: int
) -> MultiScaleMemory:
    """Build the untrained network, its input normalised by training normals."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MultiScaleMemory(config, shape.channels)
    _warn_of_constant(to_float(normals.spread(_LOOKED_AT).all()))
    sample = normals.spread(NORMALISATION_SAMPLE).all()
    network.encoder.normalise_by(sample)
    network = network.to(fabric.device)
    try:
        with torch.no_grad():
            network.eval()(floats_on(fabric.device, sample[:2]))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"encoder {config.encoder.name!r} does not take images of {shape.height} x "
            f"{shape.width} pixels ({str(error).splitlines()[0]}); set images.size."
        ) from error
    return network


def _warn_of_constant(images: Tensor) -> None:
    """Warn of normals (N, C, H, W) that are all the same picture, or each of one colour."""
    between, within = images.std(dim=0).mean(), images.std(dim=(2, 3)).mean()
    if min(between, within) >= _ALIKE:
        return
    what = "hardly differ from one another" if between < _ALIKE else "show hardly anything"
    warnings.warn(
        f"the training images {what} (a pixel varies by {255 * min(between, within):.2g} of 255), "
        "so that any other image has a score without meaning; look at the files.",
        stacklevel=2,
    )


def by_architecture(config: Config, network: MultiScaleMemory) -> Config:
    """Give the choices with the encoder under timm's own name, as a model is built again by it.

    An encoder of a hub or a folder is looked up there once, at the fit, and never by who loads the
    model.

    Raises:
        ValueError: The encoder is none that its architecture alone gives.
    """
    encoder = config.encoder
    if encoder.named_by_timm:
        return config
    architecture = network.encoder.backbone.pretrained_cfg["architecture"]
    named = replace(config, encoder=replace(encoder, name=architecture))
    with torch.device("meta"):
        again = MultiScaleMemory(named, len(network.encoder.mean), initialise=False)
    shapes, wanted = (
        {name: values.shape for name, values in each.state_dict().items()}
        for each in (again, network)
    )
    if shapes != wanted:
        raise ValueError(
            f"encoder {encoder.name!r} is not timm's {architecture!r} as it is; give that name, "
            "and a file of its weights as encoder.weights."
        )
    return named
