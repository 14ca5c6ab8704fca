"""Ablations of the paper: what one choice is worth, all others staying as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anomem.config import Config
from anomem.config.mapping import changed
from anomem_bench.methods import Method, methods_named, ours
from anomem_bench.ours import Memory


@dataclass(frozen=True)
class Ablation:
    """Varies one choice over the values it takes.

    Attributes:
        values: What the choice is.
        choices: From the choices of the base and a value to those that are changed.
        title: Of a variant, with ``{}`` for its value.
        memory: What stands in place of the learnt memory, by value, where something does.
        by: Protocol that measures them.
    """

    values: Sequence[Any]
    choices: Callable[[Config, Any], dict[str, Any]]
    title: str = "{}"
    memory: Mapping[Any, Memory] = field(default_factory=dict)
    by: Literal["one-vs-all", "linear"] = "one-vs-all"


def _scales(config: Config, variant: str) -> dict[str, Any]:
    """The last scale alone, unless the variant names scales."""
    if "scales" in variant:
        return {}
    return {
        "encoder__scales": config.encoder.scales[-1:],
        "memory__sizes": config.memory.sizes[-1:],
        "loss__sampling_ratios": config.loss.sampling_ratios[-1:],
    }


def _last_size(config: Config, size: int) -> dict[str, Any]:
    return {"memory__sizes": (*config.memory.sizes[:-1], size)}


def _earlier_size(config: Config, size: int) -> dict[str, Any]:
    *early, last = config.memory.sizes
    return {"memory__sizes": (*(size for _ in early), last)}


def _sampling_ratio(config: Config, ratio: float) -> dict[str, Any]:
    *early, last = config.loss.sampling_ratios
    return {"loss__sampling_ratios": (*(ratio for _ in early), last)}


def _variance_weight(_: Config, weight: float) -> dict[str, Any]:
    return {"loss__variance_weight": weight}


def _scale_weights(config: Config, form: str) -> dict[str, Any]:
    """Of three scales, one before the first being added."""
    sizes, ratios = config.memory.sizes, config.loss.sampling_ratios
    return {
        "encoder__scales": (config.encoder.scales[0] - 1, *config.encoder.scales),
        "memory__sizes": (sizes[0], *sizes),
        "loss__sampling_ratios": (ratios[0], *ratios),
        "loss__scale_weights": form,
    }


def _backbone(config: Config, name: str) -> dict[str, Any]:
    if name.startswith("resnet"):
        return {"encoder__name": name}
    # An EfficientNet halves the size once more than a ResNet with a small stem does.
    stride = config.encoder.stem_stride and 1
    return {"encoder__name": name, "encoder__width": None, "encoder__stem_stride": stride}


ABLATIONS = {
    "memory": Ablation(
        ("neither", "scales only", "memory only", "memory and scales"),
        _scales,
        memory={"neither": "kmeans", "scales only": "kmeans"},
    ),
    "memory-linear": Ablation(
        ("no memory", "memory", "memory and scales"),
        _scales,
        memory={"no memory": "mean"},
        by="linear",
    ),
    "last-size": Ablation((16, 64, 256, 1024), _last_size, "last memory {}"),
    "earlier-size": Ablation((64, 256, 512, 1024), _earlier_size, "earlier memory {}"),
    "sampling-ratio": Ablation((0.07, 0.15, 0.3, 0.6, 1.0), _sampling_ratio, "r {:g}"),
    "variance-weight": Ablation(
        (0.1, 0.05, 0.025, 0.01), _variance_weight, "lambda_V {}", by="linear"
    ),
    "scale-weights": Ablation(("linear", "exponential"), _scale_weights, "lambda {}"),
    "backbone": Ablation(("resnet10t", "resnet18", "resnet50", "efficientnet_b0"), _backbone),
}


def variants(name: str, base: str) -> dict[str, Method]:
    """List the methods that an ablation compares, by name.

    Args:
        name: In :data:`ABLATIONS`.
        base: Method whose choices stay as they are, "scratch" or "paper-small".

    Raises:
        ValueError: There is no such ablation or method.
    """
    if name not in ABLATIONS:
        raise ValueError(f"there is no ablation {name!r}; choose from {', '.join(ABLATIONS)}.")
    ablation, config = ABLATIONS[name], methods_named([base])[base].config
    methods = {}
    for value in ablation.values:
        full = f"{base}, {ablation.title.format(value)}"
        choices = ablation.choices(config, value)
        memory = ablation.memory.get(value, "learnt")
        methods[full] = ours(full, changed(config, choices), memory)
    return methods
