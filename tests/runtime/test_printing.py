import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from anomem.runtime.printing import encoded, no_formula, path_as_text, printable

HOSTILE = os.fsdecode(b"\x1b[2J\xe9\xe8.png")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain/übung 1.png", "plain/übung 1.png"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("two\nlines\r", r"two\x0alines\x0d"),
        ("\x9b2J", r"\x9b2J"),
        ("gnp\u202egpj.exe", r"gnp\u202egpj.exe"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
        (r"C:\images\x.png", r"C:\images\x.png"),
    ],
)
def test_nothing_that_is_printed_acts_on_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_text_of_a_page_keeps_its_lines_and_escapes_what_is_no_utf8() -> None:
    assert encoded("<p>é\n" + os.fsdecode(b"\xff")) == "<p>é\n\\xff".encode()


@pytest.mark.parametrize("name", [HOSTILE, "new\nline.png", "\t=1+1.png"])
def test_a_path_that_is_no_plain_text_comes_back_from_its_uri(name: str) -> None:
    text = path_as_text(f"/data/{name}")
    assert text.isascii() and text.isprintable()
    assert os.fsdecode(unquote_to_bytes(text.removeprefix("file://"))) == f"/data/{name}"


def test_a_plain_path_or_url_stands_as_it_is() -> None:
    for name in ("../a b/é%20.png", r"C:\x.png", "s3://bucket/a.png#7", "image 3"):
        assert path_as_text(name) == name


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_a_formula_becomes_a_path_that_means_the_same(start: str) -> None:
    cell = no_formula(f"{start}HYPERLINK(0).png")
    assert cell[0] == "."
    assert Path(cell) == Path(f"{start}HYPERLINK(0).png")
    assert no_formula("a=b.png") == "a=b.png" and no_formula("") == ""


TELL = """
import sys
from anomem.runtime.printing import take_any_character, tell
take_any_character()
tell(sys.argv[1])
tell("é → " + sys.argv[1], error=True)
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_terminal_is_told_every_name(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TELL, os.fsencode(HOSTILE)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding) == "\\x1b[2J\\xe9\\xe8.png\n"
    assert b"\x1b" not in done.stderr and done.stderr.endswith(b"\\x1b[2J\\xe9\\xe8.png\n")


def test_who_has_gone_is_not_waited_for() -> None:
    code = (
        "from anomem.runtime.printing import tell\nfor n in range(9999): tell(f'line {n}')\nexit(7)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 7
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_told_is_an_error(model_folder: Path) -> None:
    code = "from anomem.cli.app import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "info", str(model_folder)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "anomem: standard output cannot be written (No space left on device); write it elsewhere.\n"
    )
