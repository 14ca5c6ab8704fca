"""Configurations as plain mappings: written, and changed, by the paths of their choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from anomem.config.choices import Config


def flat(config: Config) -> dict[str, Any]:
    """Give every choice by its path, ``{"memory__beta": 2.0, ...}``."""
    return {
        f"{group}__{name}": value
        for group, choices in asdict(config).items()
        for name, value in choices.items()
    }


def paths_of(mapping: Mapping[str, Any]) -> frozenset[str]:
    """Give the paths of the choices of a nested mapping, as :func:`overlaid` takes it.

    >>> sorted(paths_of({"memory": {"beta": 3.0, "steps": 1}}))
    ['memory__beta', 'memory__steps']
    """
    return frozenset(f"{group}__{name}" for group, choices in mapping.items() for name in choices)


def changed(config: Config, choices: Mapping[str, Any]) -> Config:
    """Give the configuration with some choices changed, by path as :func:`flat` gives them.

    Raises:
        ValueError: There is no such choice, or its value is out of range.
    """
    unknown = sorted(set(choices) - set(flat(config)))
    if unknown:
        raise ValueError(f"there is no choice {unknown[0]!r}; see get_params() for their names.")
    groups: dict[str, Any] = {}
    for path, value in choices.items():
        group, _, name = path.partition("__")
        groups.setdefault(group, {})[name] = value
    parts = {group: replace(getattr(config, group), **new) for group, new in groups.items()}
    return replace(config, **parts)


def overlaid(config: Config, mapping: Mapping[str, Any]) -> Config:
    """Lay the choices of a nested mapping (a TOML or JSON file) over those of a configuration.

    Raises:
        ValueError: A key is unknown, or a value is of the wrong type or out of range; one
            sentence names the first of them.
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(mapping, Mapping):
        raise ValueError(f"the configuration is {mapping!r:.60}; give groups of choices.")
    base: dict[str, Any] = asdict(config)
    for group, choices in mapping.items():
        known = base.get(group, {})
        base[group] = {**known, **choices} if isinstance(choices, Mapping) else choices
    try:
        return TypeAdapter(Config).validate_python(base)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "configuration"
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ValueError(f"{at}: {message} (given: {first['input']!r:.60}).") from None
