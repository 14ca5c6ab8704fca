import re
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from PIL import Image

from anomem import AnoMem
from anomem.detector.nearest_places import Place, ScalePrototypes, find_prototypes
from anomem.images.open import open_images
from anomem.report.prototypes import Recalled, patchwork, write_prototypes

Folders = dict[str, Path]


@pytest.fixture
def page(model: AnoMem, folders: Folders, tmp_path: Path) -> Path:
    source = open_images(folders["train"])
    scales = find_prototypes(model.network_, source, model.framing_.shape)
    strange = sorted(folders["anomalous"].iterdir())[0]
    shown = Recalled("a <strange> one", open_images(strange)[0], model.explain(strange))
    return write_prototypes(scales, source, tmp_path / "page", title="zeros", explained=[shown])


def test_page_shows_every_prototype_and_every_picture_is_there(page: Path) -> None:
    text = page.read_text()
    assert len(re.findall(r"prototype \d+: ", text)) == 16 + 8
    files = re.findall(r'src="([^"]+)"', text)
    assert len(files) == 16 + 8 + 3 and len(set(files)) == len(files)
    for file in files:
        with Image.open(page.parent / file) as picture:
            picture.load()
    assert "a &lt;strange&gt; one" in text
    assert len(re.findall(r'alt="[^"]+"', text)) == len(files)


def test_table_has_a_row_for_each_nearest_place(page: Path, folders: Folders) -> None:
    rows = pyarrow.csv.read_csv(page.parent / "prototypes.csv").to_pylist()
    assert len(rows) == 6 * (16 + 8)
    assert list(rows[0]) == [
        *("scale", "prototype", "usage", "weight", "rank", "cosine", "image", "row", "column")
    ]
    assert {Path(row["image"]).parent for row in rows} == {folders["train"]}
    first = [row for row in rows if row["scale"] == "scale_1"]
    usage = [row["usage"] for row in first]
    assert usage == sorted(usage, reverse=True)
    assert [row["rank"] for row in first[:7]] == [1, 2, 3, 4, 5, 6, 1]


def test_patchwork_takes_each_cell_from_what_is_most_like_the_prototype() -> None:
    dark, bright = np.full((4, 4), 10, np.uint8), np.full((4, 4), 200, np.uint8)
    shares, none = np.array([0.5, 0.5]), np.zeros((2, 1), np.float32)
    nearest = [[Place(1, 0, 1)], [Place(0, 1, 0)]]
    scale = ScalePrototypes("scale_1", (2, 2), shares, shares, none, nearest)
    made = patchwork(
        np.array([[0, 1], [1, 0]]), scale, open_images(np.stack([dark, bright])[..., None]), (6, 8)
    )
    assert made.shape == (6, 8, 3)
    assert (made[:3, :4] == 200).all() and (made[:3, 4:] == 10).all()
    assert (made[3:, :4] == 10).all() and (made[3:, 4:] == 200).all()
