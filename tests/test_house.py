"""The house as docs/design.md draws it: its rooms, and the road of a fit through them."""

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

import anomem
from anomem import AnoMem, Config

SOURCE = Path(anomem.__file__).parents[1]
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"


def modules() -> set[str]:
    """Every module of both packages, as ``anomem/images/decode.py``."""
    files = (file for name in ("anomem", "anomem_bench") for file in (SOURCE / name).rglob("*.py"))
    return {str(file.relative_to(SOURCE)) for file in files if file.name != "__init__.py"}


def test_nothing_lies_loose_at_the_top_of_the_package() -> None:
    assert [file for file in (SOURCE / "anomem").glob("*.py") if file.name != "__init__.py"] == []


def test_the_design_names_every_module_once() -> None:
    """In the tables of its rooms, by the folder in the heading and the file in the first column."""
    named: list[str] = []
    folder = ""
    for line in DESIGN.read_text().splitlines():
        if heading := re.match(r"### `(.*)/`", line):
            folder = heading[1]
        elif folder and (row := re.match(r"\| `([\w/]+\.py)`", line)):
            named.append(f"{folder}/{row[1]}")
    assert sorted(named) == sorted(modules())


def test_the_recipe_of_a_fit_enters_each_room_once(
    hasty: Config, digits: dict[str, npt.NDArray[np.uint8]]
) -> None:
    """The functions that ``fit.py`` calls outside of its own room and of the ground floor."""
    doors: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        caller = frame.f_back
        if event != "call" or caller is None or "." in frame.f_code.co_qualname:
            return
        called = str(frame.f_globals.get("__name__"))
        if caller.f_globals.get("__name__") == "anomem.detector.fit" and "anomem." in called:
            room = called.split(".")[1]
            if room not in ("detector", "runtime") and doors[-1:] != [room]:
                doors.append(room)

    detector = AnoMem(hasty, device="cpu")
    sys.setprofile(note)
    try:
        detector.fit(digits["train"][:30])
    finally:
        sys.setprofile(None)
    assert doors == ["images", "training", "model"]
