"""Files that anybody may have written: read within limits, and never waited for."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomem.runtime.printing import printable

MOST_JSON = 2**20
"""Bytes of a JSON file: ours have some thousand."""
_DEEPEST = 32


def check_regular(file: Path) -> int:
    """Give the size in bytes of a file that is one, or a link to one.

    Raises:
        ValueError: It is a folder, pipe, socket or device, which may never end, or it is not there.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be read") from error
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no regular file")
    return found.st_size


def read_json(file: Path, most: int = MOST_JSON) -> Any:
    """Read what a JSON file of at most so many bytes holds.

    Raises:
        ValueError: It is no regular file, or :func:`parse_json` refuses it.
    """
    check_regular(file)
    try:
        with file.open("rb") as opened:
            content = opened.read(most + 1)
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be read") from error
    return parse_json(content, most)


def parse_json(content: bytes, most: int = MOST_JSON) -> Any:
    """Parse JSON of which every number is finite and every name stands once.

    Raises:
        ValueError: It is not such JSON, has more bytes, or is nested over 32 deep.
    """
    if len(content) > most:
        raise ValueError(f"it has over {most} bytes")
    try:
        value = json.loads(
            content.decode(),
            parse_constant=_finite,
            parse_float=_finite,
            object_pairs_hook=_each_once,
        )
    except RecursionError:
        raise ValueError(f"it is nested over {_DEEPEST} deep") from None
    _check_depth(value, _DEEPEST)
    return value


def one_line(error: BaseException | str) -> str:
    """Cut what an error says to its first line, 200 characters, all of them printable."""
    first = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    shown = printable(first)
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:20]} is no finite number")
    return value


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:40]!r} stands twice")
        found[name] = value
    return found


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if left == 0:
            raise ValueError(f"it is nested over {_DEEPEST} deep")
        for part in value.values() if isinstance(value, dict) else value:
            _check_depth(part, left - 1)


class ModelError(ValueError):
    """Says why a folder or file is no model or checkpoint that can be read."""
