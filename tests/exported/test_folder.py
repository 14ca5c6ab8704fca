import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomem.config import Config
from anomem.decision.calibrate import Calibration
from anomem.exported.folder import (
    DESCRIPTION,
    GRAPH,
    Exported,
    is_exported,
    read,
    read_whole,
    write,
)
from anomem.images.framing import Framing
from anomem.images.resize import ImageShape
from anomem.runtime.untrusted import ModelError

REGION = np.zeros((40, 60), dtype=bool)
REGION[10:30, 5:] = True
EXPORTED = Exported(
    framing=Framing("letterbox", ImageShape(3, 32, 48), REGION),
    dtype="uint8",
    scales=2,
    rule="0.05",
    threshold=1.75,
    calibration=Calibration.of([0.1, -1.3, 1 / 3]),
    held_out=("a.png", "b.png", "ä.png"),
    unseen_anomalies=np.array([2.5], dtype=np.float32),
    learnt=0,
    made_of="tiles (weights-0123456789abcdef.safetensors)",
    config=asdict(Config()),
    summary={"steps": 20},
    measured={},
)


@pytest.fixture(autouse=True)
def graph(tmp_path: Path) -> bytes:
    """A folder has a graph before it is described."""
    (tmp_path / GRAPH).write_bytes(b"a graph")
    return b"a graph"


def test_a_folder_says_what_was_written(tmp_path: Path, graph: bytes) -> None:
    assert not is_exported(tmp_path)
    write(EXPORTED, tmp_path)
    again, whole = read_whole(tmp_path)
    assert is_exported(tmp_path) and whole == graph
    written = {**EXPORTED.as_json(), "digest": again.digest}
    assert json.dumps(again.as_json()) == json.dumps(written)
    assert again.framing.region is not None and np.array_equal(again.framing.region, REGION)


def test_a_number_that_was_changed_is_told(tmp_path: Path) -> None:
    write(EXPORTED, tmp_path)
    description = (tmp_path / DESCRIPTION).read_text()
    (tmp_path / DESCRIPTION).write_text(description.replace("-1.3", "-1.4"))
    with pytest.raises(ModelError, match=r"is damaged, or they are of two exports"):
        read_whole(tmp_path)


@pytest.mark.parametrize("name", [GRAPH, "region.png"])
def test_files_of_two_exports_are_told(tmp_path: Path, name: str) -> None:
    write(EXPORTED, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content + b"1")
    with pytest.raises(ModelError, match=r"is damaged, or they are of two exports; copy the"):
        read_whole(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=r"copy the folder again|cannot be read"):
        read_whole(tmp_path)


def test_without_a_region_anomalies_count_everywhere(tmp_path: Path) -> None:
    everywhere = Framing("tile", ImageShape(1, 32, 32), reduced=False)
    write(replace(EXPORTED, framing=everywhere), tmp_path)
    assert read(tmp_path).framing == everywhere


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("shape", {"channels": 2, "height": 32, "width": 32}, "channels is 2"),
        ("shape", {"channels": 1, "height": 2**20, "width": 32}, "height is 1048576"),
        ("framing", {"kind": "melt", "reduced": True}, "kind is 'melt'"),
        ("calibration", {}, "no 'scores'"),
        ("threshold", "high", "threshold is 'high'"),
        ("labels", {"unseen": [1.0], "learnt": 2}, "learnt is 2"),
        ("format_version", 99, "format 99, this anomem reads 1"),
    ],
)
def test_what_is_out_of_range_is_refused_in_a_sentence(
    tmp_path: Path, part: str, value: Any, reason: str
) -> None:
    write(EXPORTED, tmp_path)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    (tmp_path / DESCRIPTION).write_text(json.dumps({**description, part: value}))
    with pytest.raises(ModelError, match=reason):
        read(tmp_path)
