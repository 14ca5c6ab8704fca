"""The command line ``anomem``: which command is meant, and how it ends."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from anomem.arguments import (
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
from anomem.bench.commands import PROTOCOLS
from anomem.commands import learn, look

_NO_PROTOCOL: list[list[str]] = [[], ["-h"], ["--help"]]

COMMANDS: dict[str, tuple[type[Common], Callable[[Any], Result]]] = {
    "demo": (Demo, learn.demo),
    "fit": (Fit, learn.fit),
    "adapt": (Adapt, learn.adapt),
    "label": (Label, learn.label),
    "score": (Score, look.score),
    "evaluate": (Evaluate, look.evaluate),
    "prototypes": (Prototypes, look.prototypes),
    "info": (Info, look.info),
    **PROTOCOLS,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit.

    0 on success, 1 on an error, 2 on a wrong command line, 3 where some of the images could not be
    scored (their rows say why), 130 when interrupted from the keyboard.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["bench"]:
        words = [" ".join(words[:2]), *words[2:]] if words[1:2] not in _NO_PROTOCOL else ["--help"]
    if not words or words[0] not in COMMANDS:
        _overview(words)
    kind, command = COMMANDS[words[0]]
    warnings.showwarning = _show_warning
    try:
        arguments = parse(kind, words[0], words[1:])
        result, code = command(arguments)
    except (ValueError, TypeError, ArithmeticError, OSError, RuntimeError) as error:
        message = " ".join(str(error).split())
        print(f"anomem: {message}", file=sys.stderr)
        if "--json" in words:
            print(json.dumps({"error": message}))
        sys.exit(1)
    except KeyboardInterrupt:
        print("anomem: interrupted (fit goes on with --resume, bench by itself).", file=sys.stderr)
        sys.exit(130)
    if arguments.json:
        print(json.dumps(result))
    sys.exit(code)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line, without the line of code it comes from."""
    print(f"anomem: {message}", file=sys.stderr)


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
        print(text)
        sys.exit(0)
    if words and words[0] == "--version":
        from anomem import __version__

        print(__version__)
        sys.exit(0)
    if words:
        print(f"anomem: there is no command {words[0]!r}; see anomem --help.", file=sys.stderr)
    else:
        print(text, file=sys.stderr)
    sys.exit(2)
