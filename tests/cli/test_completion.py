"""What ``--tyro-print-completion`` prints completes commands and flags in real shells."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from running import run

Capture = pytest.CaptureFixture[str]


def script(shell: str, folder: Path, capsys: Capture) -> Path:
    """The file that a user's shell reads as it starts."""
    assert run("--tyro-print-completion", shell) == 0
    file = folder / "_anomem"
    file.write_text(capsys.readouterr().out, "utf-8")
    return file


def told(*command: str) -> list[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("anomem ex", {"explain", "export"}),
        ("anomem score --heat", {"--heatmaps"}),
        ("anomem adapt --depth e", {"encoder"}),
    ],
)
def test_bash_completes(words: str, wanted: set[str], tmp_path: Path, capsys: Capture) -> None:
    file = script("bash", tmp_path, capsys)
    pressed = f"""
        source {file}
        read -ra COMP_WORDS <<< "{words}"
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        $(complete -p anomem | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert set(told("bash", "--norc", "-c", pressed)) == wanted


def test_bash_leaves_names_of_files_to_the_shell(tmp_path: Path, capsys: Capture) -> None:
    file = script("bash", tmp_path, capsys)
    pressed = f"""
        source {file}; COMP_WORDS=(anomem score mod); COMP_CWORD=2; _anomem_or_files
        echo ${{#COMPREPLY[@]}}; complete -p anomem
    """
    assert told("bash", "--norc", "-c", pressed)[:4] == ["0", "complete", "-o", "default"]


def test_zsh_knows_its_completion(tmp_path: Path, capsys: Capture) -> None:
    script("zsh", tmp_path, capsys)
    reads = f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; "
    assert told("zsh", "-f", "-c", f"{reads} print $_comps[anomem]") == ["_anomem"]
    assert told("zsh", "-f", "-n", str(tmp_path / "_anomem")) == []
