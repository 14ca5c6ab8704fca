"""Every choice of a detector as a parameter of a scikit-learn estimator."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils import Tags

from anomem.config import Config
from anomem.config.mapping import flat
from anomem.config.presets import Automatic, given_choices, with_choices

_CHOICES = "config__"


class WithChoices(BaseEstimator):  # type: ignore[misc]
    """Has a configuration, whose choices are parameters too.

    Attributes:
        config: Name of a preset, or a configuration.
    """

    config: str | Config | Automatic

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the parameters; with ``deep`` every choice too, as ``config__memory__beta``.

        With "auto" they are those of the preset "scratch".

        Example:
            >>> model.get_params()["config__stage1__max_steps"]
            20
        """
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            params |= {f"{_CHOICES}{k}": v for k, v in flat(given_choices(self.config)).items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters and choices by the names of :meth:`get_params`.

        With "auto" a choice that is set is given, also where "scratch" has the same; of those that
        are set together with ``config``, those that change it.

        Raises:
            ValueError: There is no such parameter or choice.

        Example:
            >>> model.set_params(seed=1, config__memory__beta=20.0).config.memory.beta
            20.0
        """
        choices = {
            name.removeprefix(_CHOICES): value
            for name, value in params.items()
            if name.startswith(_CHOICES)
        }
        super().set_params(**{k: v for k, v in params.items() if not k.startswith(_CHOICES)})
        if choices:
            self.config = with_choices(self.config, choices, changed_alone="config" in params)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = of_images(super().__sklearn_tags__())
        tags.estimator_type = "outlier_detector"  # else scorers would not ask for the score
        return tags


def of_images(tags: Tags) -> Tags:
    """Say to scikit-learn that an estimator takes images or paths, and no tables."""
    tags.input_tags.two_d_array = False
    tags.input_tags.three_d_array = True
    tags.input_tags.string = True
    tags.no_validation = True
    return tags
