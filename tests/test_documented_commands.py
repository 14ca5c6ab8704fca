"""The commands of the documents are commands."""

import re
import shlex
from pathlib import Path

import pytest

from anomem.cli.app import COMMANDS, GROUPS
from anomem.cli.arguments import parse

ROOT = Path(__file__).parents[1]


def commands_of(document: Path) -> list[str]:
    """Every ``anomem`` command of an indented block, continued lines joined."""
    text = document.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ {4,}(?:\S*/|torchrun .* )?(anomem .*)$", text, flags=re.MULTILINE)
    return [line.partition(" #")[0] for line in lines]


DOCUMENTED = [
    pytest.param(command, id=f"{document.name}: {command[7:60]}")
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for command in commands_of(document)
]


def test_documents_show_commands() -> None:
    assert len(DOCUMENTED) > 20


@pytest.mark.parametrize("command", DOCUMENTED)
def test_documented_command_is_understood(command: str) -> None:
    assert parse(shlex.split(command)[1:], COMMANDS, GROUPS).json is False
