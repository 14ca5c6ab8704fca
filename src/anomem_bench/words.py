"""Words of the command line to what they mean."""

from __future__ import annotations

from pathlib import Path


def place(word: str, path: Path | None) -> tuple[str, Path | None]:
    """Name and place of a data set, given as NAME or NAME:PATH."""
    name, colon, where = word.partition(":")
    return name, Path(where) if colon else path


def shard(text: str) -> tuple[int, int]:
    """A part and the number of parts, from "2/3".

    Raises:
        ValueError: It is no such pair.
    """
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"shard is {text!r}; give a part and their number, as 2/3.")
    return int(part), int(parts)


def words(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def shares(text: str) -> tuple[float, ...]:
    """Numbers from 0 to below 1 between commas, at least one.

    Raises:
        ValueError: They are not.
    """
    try:
        numbers = tuple(float(word) for word in words(text))
    except ValueError:
        numbers = (-1.0,)
    if not numbers or not all(0 <= number < 1 for number in numbers):
        raise ValueError(f"gammas is {text!r}; give numbers from 0 to below 1, as in 0,0.05.")
    return numbers
