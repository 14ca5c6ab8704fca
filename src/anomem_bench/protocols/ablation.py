"""Ablations of the paper: what one choice is worth, all others staying as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from anomem.config import Config
from anomem.config.mapping import changed
from anomem_bench.methods import Method, methods_named, ours
from anomem_bench.ours import Memory

By = Literal["one-vs-all", "linear"]
Variant = tuple[str, dict[str, Any], Memory]
"""Name, choices that are changed, and what stands in place of the learnt memory."""


@dataclass(frozen=True)
class Ablation:
    """One choice, and the values it takes.

    Attributes:
        variants: From the choices they are made of.
        by: Protocol that measures them.
    """

    variants: Callable[[Config], list[Variant]]
    by: By = "one-vs-all"


def _last_scale(config: Config) -> dict[str, Any]:
    """Choices that leave the last scale alone."""
    return {
        "encoder__scales": config.encoder.scales[-1:],
        "memory__sizes": config.memory.sizes[-1:],
        "loss__sampling_ratios": config.loss.sampling_ratios[-1:],
    }


def _memory_and_scales(config: Config) -> list[Variant]:
    one = _last_scale(config)
    return [
        ("neither", one, "kmeans"),
        ("scales only", {}, "kmeans"),
        ("memory only", one, "learnt"),
        ("memory and scales", {}, "learnt"),
    ]


def _linear_memory_and_scales(config: Config) -> list[Variant]:
    one = _last_scale(config)
    return [
        ("no memory", one, "mean"),
        ("memory", one, "learnt"),
        ("memory and scales", {}, "learnt"),
    ]


def _last_size(config: Config) -> list[Variant]:
    *early, _ = config.memory.sizes
    return [
        (f"last memory {size}", {"memory__sizes": (*early, size)}, "learnt")
        for size in (16, 64, 256, 1024)
    ]


def _early_size(config: Config) -> list[Variant]:
    *_, last = config.memory.sizes
    early = len(config.memory.sizes) - 1
    return [
        (f"earlier memory {size}", {"memory__sizes": (*(size,) * early, last)}, "learnt")
        for size in (64, 256, 512, 1024)
    ]


def _sampling_ratio(config: Config) -> list[Variant]:
    *early, last = config.loss.sampling_ratios
    return [
        (f"r {ratio:g}", {"loss__sampling_ratios": (*(ratio for _ in early), last)}, "learnt")
        for ratio in (0.07, 0.15, 0.3, 0.6, 1.0)
    ]


def _variance_weight(config: Config) -> list[Variant]:  # noqa: ARG001 - a plain list of weights
    return [
        (f"lambda_V {weight:g}", {"loss__variance_weight": weight}, "learnt")
        for weight in (0.1, 0.05, 0.025, 0.01)
    ]


def _scale_weights(config: Config) -> list[Variant]:
    three = {
        "encoder__scales": (config.encoder.scales[0] - 1, *config.encoder.scales),
        "memory__sizes": (config.memory.sizes[0], *config.memory.sizes),
        "loss__sampling_ratios": (config.loss.sampling_ratios[0], *config.loss.sampling_ratios),
    }
    return [
        (f"lambda {form}", three | {"loss__scale_weights": form}, "learnt")
        for form in ("linear", "exponential")
    ]


def _backbone(config: Config) -> list[Variant]:
    encoder = config.encoder
    residual: list[Variant] = [
        (name, {"encoder__name": name}, "learnt") for name in ("resnet10t", "resnet18", "resnet50")
    ]
    # An EfficientNet halves the size once more than a ResNet with a small stem does.
    efficient = {
        "encoder__name": "efficientnet_b0", "encoder__width": None,
        "encoder__stem_stride": encoder.stem_stride and 1,
    }  # fmt: skip
    return [*residual, ("efficientnet_b0", efficient, "learnt")]


ABLATIONS = {
    "memory": Ablation(_memory_and_scales),
    "memory-linear": Ablation(_linear_memory_and_scales, by="linear"),
    "last-size": Ablation(_last_size),
    "earlier-size": Ablation(_early_size),
    "sampling-ratio": Ablation(_sampling_ratio),
    "variance-weight": Ablation(_variance_weight, by="linear"),
    "scale-weights": Ablation(_scale_weights),
    "backbone": Ablation(_backbone),
}


def variants(name: str, base: str) -> dict[str, Method]:
    """The methods that an ablation compares, by name.

    Args:
        name: In :data:`ABLATIONS`.
        base: Method whose choices stay as they are, "default" or "paper-small".

    Raises:
        ValueError: There is no such ablation or method.
    """
    if name not in ABLATIONS:
        raise ValueError(f"there is no ablation {name!r}; choose from {', '.join(ABLATIONS)}.")
    config = methods_named([base])[base].config
    return {
        (full := f"{base}, {variant}"): ours(full, changed(config, choices), memory)
        for variant, choices, memory in ABLATIONS[name].variants(config)
    }
