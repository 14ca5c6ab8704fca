"""The command line ``anomem``: which command is meant, and how it ends."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import NoReturn

from anomem.cli import deploy, train, use, watch
from anomem.cli.arguments import (
    Adapt,
    Check,
    Commands,
    Demo,
    Evaluate,
    Explain,
    Export,
    Fit,
    Info,
    Label,
    Prototypes,
    Score,
    Serve,
    Watch,
)
from anomem.cli.parse import parse
from anomem.images import complaints
from anomem.images.decode_memory import allow
from anomem.runtime.allocator import keep_freed_memory
from anomem.runtime.printing import take_any_character, tell
from anomem.runtime.untrusted import one_line


def groups_of(points: Iterable[EntryPoint]) -> dict[str, tuple[str, Commands]]:
    """Load the commands of other packages, each group with the first line of its module.

    One that cannot be loaded is left out, and told.
    """
    groups: dict[str, tuple[str, Commands]] = {}
    for point in points:
        try:
            commands = point.load()
            groups[point.name] = (
                (sys.modules[point.module].__doc__ or "").partition("\n")[0],
                commands,
            )
        except Exception as error:  # whatever another package does as it is imported
            tell(
                f"anomem: the commands anomem {point.name} ({point.value}) cannot be loaded "
                f"({one_line(error)}); mend or remove that package.",
                error=True,
            )
    return groups


COMMANDS: Commands = {
    "demo": (Demo, train.demo),
    "fit": (Fit, train.fit),
    "adapt": (Adapt, train.adapt),
    "label": (Label, train.label),
    "score": (Score, use.score),
    "serve": (Serve, use.serve),
    "watch": (Watch, watch.watch),
    "evaluate": (Evaluate, use.evaluate),
    "explain": (Explain, use.explain),
    "prototypes": (Prototypes, use.prototypes),
    "info": (Info, use.info),
    "export": (Export, deploy.export),
    "check": (Check, deploy.check),
}
GROUPS = groups_of(entry_points(group="anomem.commands"))
"""Other packages add commands as mappings under the entry points ``anomem.commands``."""
_IMAGE_LIBRARIES = {"PIL": "Pillow", "tifffile": "tifffile", "pydicom": "pydicom"}
"""By the folder of their files."""
_EXTRAS = {
    "matplotlib": "report",
    "jinja2": "report",
    "skimage": "demo",
    "onnx": "export",
    "onnxscript": "export",
    "fastapi": "serve",
    "uvicorn": "serve",
    "watchfiles": "watch",
    "stamina": "watch",
    "httpx2": "watch",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "ray": "ray",
    "onnxruntime": "onnx",
    "pandas": "bench",
    "av": "video",
}
"""Which extra brings a package that a command imports."""
_RUNS = dict(
    pair
    for several in (COMMANDS, *(group for _, group in GROUPS.values()))
    for pair in several.values()
)
"""What each command does, by what it takes."""


@contextmanager
def _as_lines() -> Iterator[None]:
    """What the package logs and warns of as lines; afterwards as the program had it."""
    log = logging.getLogger("anomem")
    before = log.handlers, log.level, warnings.showwarning
    log.handlers, warnings.showwarning = [logging.StreamHandler(sys.stdout)], _show_warning
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, _, warnings.showwarning = before
        log.setLevel(before[1])


@_as_lines()
def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit.

    0 on success, 1 on an error, 2 on a wrong command line, 3 where some of the images could not be
    scored (their rows say why), 130 when interrupted from the keyboard.
    """
    take_any_character()
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        from anomem import __version__

        tell(__version__)
        sys.exit(0)
    try:
        arguments = parse(words, COMMANDS, GROUPS)
        try:
            keep_freed_memory()
            with allow(arguments.decode_memory):
                result, code = _RUNS[type(arguments)](arguments)
        finally:
            if heard := complaints.told():
                tell(f"anomem: {heard}", error=True)
        if arguments.json:
            tell(json.dumps(result))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        _fail(f"{package} is not installed; pip install 'anomem[{_EXTRAS[package]}]'.", words)
    except (ValueError, TypeError, ArithmeticError, OSError, RuntimeError, MemoryError) as error:
        _fail(" ".join(str(error).split()) or type(error).__name__, words)
    except KeyboardInterrupt:
        tell(
            "anomem: interrupted (fit goes on with --resume, score and bench by themselves).",
            error=True,
        )
        sys.exit(130)
    sys.exit(code)


def _fail(message: str, words: Sequence[str]) -> NoReturn:
    """Tell what went wrong, also as JSON where that is asked for, and exit with 1."""
    tell(f"anomem: {message}", error=True)
    if "--json" in words:
        with suppress(OSError):
            tell(json.dumps({"error": message}))
    sys.exit(1)


def _show_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 (as the warnings module calls it)
    filename: str,
    *_: object,
    **__: object,
) -> None:
    """A warning as one line, without the line of code it comes from; of image libraries, a count.

    What they warn of are tags and texts of files, and what cannot be read has an error.
    """
    library = next(filter(None, map(_IMAGE_LIBRARIES.get, PurePath(filename).parts)), None)
    if library is not None:
        complaints.heard(library)
    else:
        tell(f"anomem: {message}", error=True)
