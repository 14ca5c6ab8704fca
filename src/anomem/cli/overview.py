"""The help of the program as a whole: its commands by what a person wants to do."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping

PURPOSES = {
    "Train": ("demo", "fit", "adapt", "label"),
    "Use": ("score", "watch", "serve"),
    "Look": ("explain", "prototypes", "info"),
    "Measure": ("evaluate", "bench"),
    "Ship": ("export", "check"),
}
"""Commands by purpose, in the order in which a detector meets them."""

FILES_TOO = {
    "bash": """\
_anomem_or_files() { _tyro_anomem "$@"; [[ ${COMPREPLY[0]} ]] || COMPREPLY=(); }
complete -o default -F _anomem_or_files anomem""",
    "zsh": "(( compstate[nmatches] )) || _files",
}
"""What follows the completion that tyro prints for a shell, which names no files to be scored."""

_NAMES = 14
_WIDEST = 100


def overview(told: Mapping[str, str]) -> list[str]:
    """Tell, line by line, what every command does, under what it is for.

    Args:
        told: A sentence a command, by name. Those of other packages come last.

    Example:
        >>> told = {"fit": "Train a detector.", "polish": "Of another package."}
        >>> print(*overview(told), sep=chr(10))
        usage: anomem COMMAND [FLAGS]
        <BLANKLINE>
        Image anomaly detection by multi-scale contrasted memory.
        <BLANKLINE>
        Train
          fit         Train a detector.
        <BLANKLINE>
        More
          polish      Of another package.
        <BLANKLINE>
        anomem COMMAND --help tells the flags of a command, anomem --version the version.
        anomem --tyro-print-completion bash (or zsh, tcsh) prints what completes them in a shell.
    """
    others = tuple(name for name in told if name not in sum(PURPOSES.values(), ()))
    parts = [
        "usage: anomem COMMAND [FLAGS]",
        "Image anomaly detection by multi-scale contrasted memory.",
    ]
    for purpose, names in {**PURPOSES, "More": others}.items():
        lines = [_line(name, told[name]) for name in names if name in told]
        if lines:
            parts.append("\n".join([purpose, *lines]))
    parts.append(
        "anomem COMMAND --help tells the flags of a command, anomem --version the version.\n"
        "anomem --tyro-print-completion bash (or zsh, tcsh) prints what completes them in a shell."
    )
    return "\n\n".join(parts).split("\n")


def _line(name: str, sentence: str) -> str:
    return textwrap.fill(
        sentence,
        width=max(40, min(_WIDEST, shutil.get_terminal_size().columns)),
        initial_indent=f"  {name}".ljust(_NAMES),
        subsequent_indent=" " * _NAMES,
    )
