"""The words of a command line as what the command takes, read by tyro."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Union, get_args

import tyro
from tyro.conf import DisallowNone, arg, subcommand
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

from anomem.cli.arguments import Commands, Common, Fit
from anomem.cli.overview import FILES_TOO, overview
from anomem.config import Config
from anomem.config.mapping import flat, overlaid, paths_of
from anomem.config.presets import AUTO, given_choices, scratch
from anomem.runtime.printing import tell

_TYPES = ConstructorRegistry()


@_TYPES.primitive_rule
def _or_none(
    info: PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | UnsupportedTypeAnnotationError | None:
    """None is taken where a type allows it, but help shows what else there is to give."""
    if NoneType not in get_args(info.type) or DisallowNone in info.markers:
        return None
    others = replace(info, markers={*info.markers, DisallowNone})
    spec = ConstructorRegistry.get_primitive_spec(others)
    if isinstance(spec, UnsupportedTypeAnnotationError):
        return spec

    def read(words: list[str]) -> object:
        return None if words == ["None"] else spec.instance_from_str(words)

    return replace(spec, instance_from_str=read)


def parse(
    words: Sequence[str], commands: Commands, groups: Mapping[str, tuple[str, Commands]]
) -> Common:
    """Read a command line; help and wrong words exit as tyro does.

    Args:
        words: All behind ``anomem``.
        commands: Of this package.
        groups: Of other packages, by the word before them: what they do in a sentence, and they.

    Raises:
        ValueError: The preset, the TOML file or a choice is wrong.
    """
    if list(words) in (["--help"], ["-h"]):
        own = {name: (kind.__doc__ or "").strip() for name, (kind, _) in commands.items()}
        for line in overview(own | {name: told for name, (told, _) in groups.items()}):
            tell(line)
        raise SystemExit(0)
    _refuse_unknown(words, {**commands, **{name: of for name, (_, of) in groups.items()}})
    choices, paths = _starting_choices(words) if words[:1] == ["fit"] else (scratch(), frozenset())
    paths |= _flagged(words)
    fit = Fit(normal=tyro.MISSING, out=tyro.MISSING, choices=choices, given=paths)
    kinds = [
        Annotated[kind, subcommand(name, default=fit) if kind is Fit else subcommand(name)]
        for name, (kind, _) in commands.items()
    ]
    for group, (told, members) in groups.items():
        several = [Annotated[kind, subcommand(name)] for name, (kind, _) in members.items()]
        line = _one_of(several, told)
        kinds.append(Annotated[line, subcommand(group)])
    line = _one_of(kinds, "Image anomaly detection by multi-scale contrasted memory.")
    try:
        given = tyro.cli(line, prog="anomem", args=list(words), registry=_TYPES)
    finally:
        if words[:1] == ["--tyro-print-completion"]:
            print(FILES_TOO.get(words[-1], ""))
    while not isinstance(given, Common):
        given = given.command
    return given


def _refuse_unknown(words: Sequence[str], known: Mapping[str, Any]) -> None:
    """Exit with 2 where there is no such command, or none in its group, and name the nearest."""
    for before, word in zip(["anomem", *words], words, strict=False):
        if word.startswith("-"):
            return
        name = word.replace("_", "-")
        if name not in known:
            near = get_close_matches(name, known, n=1)
            help_of = "anomem" if before == "anomem" else f"anomem {before}"
            which = f"did you mean {near[0]}?" if near else f"{help_of} --help names all."
            tell(f"anomem: there is no command {word}; {which}", error=True)
            raise SystemExit(2)
        known = known[name]
        if not isinstance(known, Mapping):
            return


def _one_of(kinds: Sequence[Any], told: str) -> Any:
    """A dataclass with one of several commands, which tyro names in its errors."""
    command: Any = Annotated[Union[tuple(kinds)], arg(name="")]  # noqa: UP007 (of a tuple)
    return make_dataclass("line", [("command", command)], namespace={"__doc__": told})


def _flagged(words: Sequence[str]) -> frozenset[str]:
    """The paths of the choices that have a flag in a command line."""
    flags = {word.partition("=")[0].replace("_", "-") for word in words}
    found = set()
    for path in flat(scratch()):
        group, name = path.replace("_", "-").split("--")
        if flags & {f"--{group}.{name}", f"--{group}.no-{name}"}:
            found.add(path)
    return frozenset(found)


def _starting_choices(words: Sequence[str]) -> tuple[Config, frozenset[str]]:
    """The preset with the TOML file over it, before any flag; and the paths that the file has."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default=AUTO)
    early.add_argument("--config", type=Path)
    known, _ = early.parse_known_args(list(words))
    config = given_choices(known.preset)
    if known.config is None:
        return config, frozenset()
    try:
        mapping = tomllib.loads(known.config.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{known.config}: {error.strerror}; give a TOML file.") from error
    except ValueError as error:
        raise ValueError(f"{known.config} is not TOML ({error}); correct it.") from error
    try:
        return overlaid(config, mapping), paths_of(mapping)
    except ValueError as error:
        raise ValueError(f"{known.config}: {error}") from error
