"""The command line ``anomem``: which command is meant, and how it ends."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import PurePath
from typing import Any

from anomem.cli import train, use
from anomem.cli.arguments import (
    Adapt,
    Common,
    Demo,
    Evaluate,
    Fit,
    Info,
    Label,
    Prototypes,
    Result,
    Score,
    parse,
)
from anomem.images import complaints
from anomem.images.decode_memory import allow
from anomem.runtime.printing import take_any_character, tell

_NO_PROTOCOL: list[list[str]] = [[], ["-h"], ["--help"]]

COMMANDS: dict[str, tuple[type[Common], Callable[[Any], Result]]] = {
    "demo": (Demo, train.demo),
    "fit": (Fit, train.fit),
    "adapt": (Adapt, train.adapt),
    "label": (Label, train.label),
    "score": (Score, use.score),
    "evaluate": (Evaluate, use.evaluate),
    "prototypes": (Prototypes, use.prototypes),
    "info": (Info, use.info),
    **{
        name: command
        for point in entry_points(group="anomem.commands")
        for name, command in point.load().items()
    },
}
"""By name; other packages add theirs as mappings under the entry points ``anomem.commands``."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit.

    0 on success, 1 on an error, 2 on a wrong command line, 3 where some of the images could not be
    scored (their rows say why), 130 when interrupted from the keyboard.
    """
    take_any_character()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["bench"]:
        words = [" ".join(words[:2]), *words[2:]] if words[1:2] not in _NO_PROTOCOL else ["--help"]
    if not words or words[0] not in COMMANDS:
        _overview(words)
    kind, command = COMMANDS[words[0]]
    warnings.showwarning = _show_warning
    _show_log()
    try:
        arguments = parse(kind, words[0], words[1:])
        allow(arguments.decode_memory)
        try:
            result, code = command(arguments)
        finally:
            if heard := complaints.told():
                tell(f"anomem: {heard}", error=True)
        if arguments.json:
            tell(json.dumps(result))
    except (ValueError, TypeError, ArithmeticError, OSError, RuntimeError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        tell(f"anomem: {message}", error=True)
        if "--json" in words:
            with suppress(OSError):
                tell(json.dumps({"error": message}))
        sys.exit(1)
    except KeyboardInterrupt:
        tell(
            "anomem: interrupted (fit goes on with --resume, score and bench by themselves).",
            error=True,
        )
        sys.exit(130)
    sys.exit(code)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, *_: object, **__: object
) -> None:
    """A warning as one line, without the line of code it comes from; of image libraries, a count.

    What they warn of are tags and texts of files, and what cannot be read has an error.
    """
    if PurePath(filename).parent.name in ("PIL", "tifffile"):
        complaints.heard("Pillow" if PurePath(filename).parent.name == "PIL" else "tifffile")
    else:
        tell(f"anomem: {message}", error=True)


def _show_log() -> None:
    """What the package logs as lines, however often a process runs a command."""
    log = logging.getLogger("anomem")
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.setLevel(logging.INFO)


def _overview(words: Sequence[str]) -> None:
    lines = [f"  {name:<17} {command.__doc__}" for name, (_, command) in COMMANDS.items()]
    text = "\n".join(
        [
            "usage: anomem COMMAND [--help] ...",
            "",
            "Image anomaly detection by multi-scale contrasted memory.",
            "",
            *lines,
        ]
    )
    if words and words[0] in ("-h", "--help"):
        for line in text.splitlines():
            tell(line)
        sys.exit(0)
    if words and words[0] == "--version":
        from anomem import __version__

        tell(__version__)
        sys.exit(0)
    if words:
        tell(f"anomem: there is no command {words[0]!r}; see anomem --help.", error=True)
    else:
        for line in text.splitlines():
            tell(line, error=True)
    sys.exit(2)
