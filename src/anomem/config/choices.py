"""What all choices have in common."""

from __future__ import annotations


class Choices:
    """Base of all dataclasses of choices: unknown keys are refused when one is read from a file."""

    __pydantic_config__ = {"extra": "forbid"}

    def _require_above_0(self, *names: str, most: float) -> None:
        """Of each of these that is not None."""
        for name in names:
            value = getattr(self, name)
            self._require(value is None or 0 < value <= most, name, f"above 0, at most {most:g}")

    def _require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {wanted}.")
