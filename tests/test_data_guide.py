"""The commands and examples of the pages on data and on training run, in order, on real files."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from running import HASTY, run
from skimage import data

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: Path) -> list[str]:
    """Examples in Python, and commands a line each."""
    pattern = r"^```python\n(.*?)^```|^ {4}(anomem [^\n]*)$"
    found = re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    return [example or command for example, command in found]


@pytest.fixture
def _workplace(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits as parts, lists of them, scans that come with pydicom, a film of gravel."""
    monkeypatch.chdir(tmp_path)
    good = sorted(folders["normal"].iterdir())[:10]
    bad = sorted(folders["anomalous"].iterdir())[:5]
    train = sorted(folders["train"].iterdir())[:30]
    rows = [*((f, "good", "train") for f in train), *((f, "good", "test") for f in good)]
    rows += [(f, "defect", "test") for f in bad]
    Path("parts.csv").write_text(
        "image,label,split\n" + "\n".join(",".join(map(str, r)) for r in rows)
    )
    for split in ("train", "test"):
        files = [(str(file), label) for file, label, of in rows if of == split]
        coco = {
            "images": [{"id": index, "file_name": file} for index, (file, _) in enumerate(files)],
            "annotations": [
                {"id": index, "image_id": index, "bbox": [0, 0, 8, 8]}
                for index, (_, label) in enumerate(files)
                if label == "defect"
            ],
        }
        Path(f"coco_{split}.json").write_text(json.dumps(coco))
    Path("scans").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        Path("scans", name).write_bytes(Path(str(get_testdata_file(name))).read_bytes())
    with av.open("line.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=5)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 32
        for index in range(100):
            picture = np.stack([data.gravel()[index : index + 32, :32]] * 3, axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))


def follow(page: Path) -> dict[str, Any]:
    """Run all blocks of a page: the names that its examples leave."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        if not block.startswith("anomem "):
            exec(block, names)
            continue
        words = shlex.split(block)[1:]
        assert run(*words, *(HASTY if words[0] == "fit" else [])) == 0, block
    return names


@pytest.mark.usefixtures("_workplace")
@pytest.mark.filterwarnings("ignore:alpha")
def test_the_guide_to_data(capsys: pytest.CaptureFixture[str]) -> None:
    names = follow(DOCS / "how-to/data.md")
    told = capsys.readouterr().out
    assert "parts.csv: 30 normal of 45 images" in told and "parts.csv: 5 anomalous of 45" in told
    assert "coco_test.json: 10 normal of 15 images" in told
    assert len(names["frame"]) == 15 and len(names["suspects"]) > 0
    np.testing.assert_array_equal(
        names["frame"]["score"][:1], names["detector"].decision_function(names["dataset"])[:1]
    )
    frames = names["scores"]
    np.testing.assert_allclose(frames["time"], np.arange(100) / 5)
    assert frames["path"][3] == "line.mp4#t=0.600" and names["picture"].shape == (32, 32, 3)


@pytest.mark.usefixtures("_workplace")
def test_the_guide_to_watching_a_training() -> None:
    names = follow(DOCS / "how-to/training.md")
    assert names["rows"]["step"].tolist() == [3] and 0 < names["in_use"].iloc[-1] <= 1
    assert len(list(Path("runs").glob("events.*"))) == 1
