"""The picture of an explanation: rows of an odd place and the normal place most like it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomem.detector.odd_places import OddPlace
from anomem.detector.origins import Origin
from anomem.images.framing import Box
from anomem.report.explanation import save_explanation
from anomem.report.heat import is_ours


@pytest.fixture
def place() -> OddPlace:
    """At the edge of an image of 40 x 60 pixels."""
    origin = Origin("good/部品$1_$\x1b.png", 5, 0)
    return OddPlace(Box(0, 50, 9, 10), "scale_1", 2.5, 7, origin, (3, 4), (8, 8), Box(30, 0, 10, 9))


def heights(tmp_path: Path, places: list[OddPlace]) -> int:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 1), np.uint8)
    file = tmp_path / "why.png"
    save_explanation(file, "odd.png: score 3.00", image, np.zeros((40, 60), np.float32), places)
    assert is_ours(file)
    with Image.open(file) as picture:
        return picture.height


def test_each_odd_place_is_a_row(tmp_path: Path, place: OddPlace) -> None:
    normal = np.full((40, 60, 3), 99, np.uint8)
    without, gone = heights(tmp_path, []), heights(tmp_path, [place])
    assert without < gone < heights(tmp_path, [replace(place, normal_image=normal), place])
