"""The commands of the documents are commands."""

import re
import shlex
from pathlib import Path

import pytest

from anomem.cli.app import COMMANDS
from anomem.cli.arguments import parse

ROOT = Path(__file__).parents[1]


def commands_of(document: Path) -> list[str]:
    """Every ``anomem`` command of an indented block, continued lines joined."""
    text = document.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ {4,}(?:\S*/)?(anomem .*)$", text, flags=re.MULTILINE)
    return [line.partition(" #")[0] for line in lines]


DOCUMENTED = [
    pytest.param(command, id=f"{document.name}: {command[7:60]}")
    for document in (ROOT / "README.md", ROOT / "docs" / "protocols.md")
    for command in commands_of(document)
]


def test_documents_show_commands() -> None:
    assert len(DOCUMENTED) > 20


@pytest.mark.parametrize("command", DOCUMENTED)
def test_documented_command_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    name = " ".join(words[:2]) if words[0] == "bench" else words[0]
    kind, _ = COMMANDS[name]
    assert parse(kind, name, words[len(name.split()) :]).json is False
