"""What all choices have in common."""

from __future__ import annotations


class Choices:
    """Base of all dataclasses of choices: unknown keys are refused when one is read from a file."""

    __pydantic_config__ = {"extra": "forbid"}

    def _require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {wanted}.")
