"""Every choice as a parameter, as scikit-learn searches and clones them."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator

from anomem.config import Config
from anomem.config.mapping import changed, flat
from anomem.config.presets import resolve

_CHOICES = "config__"


class Configured(BaseEstimator):  # type: ignore[misc]
    """What has a configuration, a device and a seed.

    Args:
        config: Name of a preset, or a :class:`~anomem.config.Config`.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        devices: Processes on each node that share the training of a fit.
        nodes: Machines that share it.
        seed: Of every random draw.
    """

    def __init__(
        self,
        config: str | Config = "default",
        *,
        device: str = "auto",
        devices: int = 1,
        nodes: int = 1,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.device = device
        self.devices = devices
        self.nodes = nodes
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; with ``deep`` every choice too, as ``config__memory__beta``."""
        own = ("config", "device", "devices", "nodes", "seed")
        params: dict[str, Any] = {name: getattr(self, name) for name in own}
        if deep:
            params |= {f"{_CHOICES}{k}": v for k, v in flat(resolve(self.config)).items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters and choices by the names of :meth:`get_params`.

        Raises:
            ValueError: There is no such parameter or choice.
        """
        choices = {
            name.removeprefix(_CHOICES): value
            for name, value in params.items()
            if name.startswith(_CHOICES)
        }
        super().set_params(**{k: v for k, v in params.items() if not k.startswith(_CHOICES)})
        if choices:
            self.config = changed(resolve(self.config), choices)
        return self
