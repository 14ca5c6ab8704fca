"""What is told on terminals and in tables: harmless and whole, whatever the names of files hold."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import TextIO

_ACTS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: escape sequences, line ends, tabs
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line ends, and what turns the direction
    "\ud800-\udfff]"  # bytes that are no UTF-8, as Python holds them in a path
)
_NO_UTF8 = re.compile("[\ud800-\udfff]")
_FORMULA = re.compile("[=+@\uff1d\uff0b\uff0d\uff20-]")
"""What a spreadsheet takes for the start of a formula, and its full-width twins."""


def printable(text: str) -> str:
    r"""Write text on one line, ``\x1b`` and the like for what acts on a terminal or ends a line."""
    return _ACTS.sub(_escaped, text)


def encoded(text: str) -> bytes:
    r"""Encode text as UTF-8, with ``\xff`` and the like for bytes of a path that are none."""
    return _NO_UTF8.sub(_escaped, text).encode()


def counted(count: int, thing: str, several: str | None = None) -> str:
    """Count things.

    >>> counted(1, "normal"), counted(2, "anomaly", "anomalies")
    ('1 normal', '2 anomalies')
    """
    return f"{count} {thing if count == 1 else several or f'{thing}s'}"


def path_as_text(name: str) -> str:
    """Write a path or URL as it stands in a table.

    That of a file whose name is no plain text (bytes that are no UTF-8, control characters) stands
    there as a ``file://`` URI, which is the same file wherever a path is asked for.
    """
    if not _ACTS.search(name):
        return name
    return printable(name) if "://" in name else Path(name).absolute().as_uri()


def no_formula(text: str) -> str:
    """Write text of a CSV cell so that no spreadsheet takes it for a formula.

    What would be one gets ``./`` before it, which leaves a path the path of the same file.
    """
    return f"./{text}" if _FORMULA.match(text) else text


def tell(line: str, *, error: bool = False) -> None:
    """Print a line: a result on standard output, all else on standard error.

    Whoever read the output may have gone, as ``head`` does; the work goes on without him.

    Raises:
        OSError: The result cannot be written, as on a full disk.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        print(printable(line), file=stream, flush=True)
    except OSError as problem:
        _silence(stream)
        if not error and not isinstance(problem, BrokenPipeError):
            raise OSError(
                f"standard output cannot be written ({problem.strerror}); write it elsewhere."
            ) from problem


def take_any_character() -> None:
    """Let standard output and standard error escape what their encoding lacks, not fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence(stream: TextIO) -> None:
    """Let what is still held for a stream vanish, or Python fails on it once more as it ends."""
    if isinstance(stream, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
