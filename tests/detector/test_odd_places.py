"""What an odd place should have looked like: a place of a training image, shown in its pixels."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from anomem import AnoMem
from anomem.config import Config, EncoderChoices, ImageChoices, MemoryChoices

Images = npt.NDArray[np.uint8]

CONFIG = Config(
    images=ImageChoices(size=64),
    encoder=EncoderChoices(name="resnet10t", width=16, stem_stride=2, frozen=True),
    memory=MemoryChoices(prototypes="places", sizes=(256, 64)),
)


@pytest.fixture(scope="module")
def normals(gravel: Images, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Crops of gravel, 48 x 96 pixels."""
    folder = tmp_path_factory.mktemp("good")
    files = []
    for number, (row, column) in enumerate(np.ndindex(10, 5)):
        files.append(folder / f"{number}.png")
        Image.fromarray(gravel[row * 48 : row * 48 + 48, column * 96 : column * 96 + 96]).save(
            files[-1]
        )
    return files


@pytest.fixture(scope="module")
def model(normals: list[Path]) -> AnoMem:
    return AnoMem(CONFIG).fit([str(file) for file in normals])


@pytest.fixture
def odd(normals: list[Path]) -> Images:
    """A crop with stripes at the right, in rows 12 to 32 and columns 62 to 86."""
    image = np.asarray(Image.open(normals[0])).copy()
    image[12:32, 62:86] = 255 * (np.arange(20)[:, None] // 4 % 2)
    return image


def test_the_odd_place_lies_on_the_stripes(model: AnoMem, odd: Images) -> None:
    place = model.explain(odd).odd[0]
    box = place.box
    assert box.left < 86 and box.left + box.width > 62
    assert box.top < 32 and box.top + box.height > 12
    assert place.distance > 1.2


def test_it_is_told_with_the_normal_place_most_like_it(
    model: AnoMem, normals: list[Path], odd: Images
) -> None:
    place = model.explain(odd).odd[0]
    assert place.origin is not None and place.cell is not None
    assert Path(place.origin.image) in normals and place.origin.tile == 0
    memory = model.network_.place_memories()[int(place.scale[-1]) - 1]
    number, cell = memory.origin[place.prototype].tolist()
    assert model.origins_[number] == place.origin
    assert divmod(cell, place.grid[1]) == place.cell
    box, (row, column), (rows, columns) = place.normal_box, place.cell, place.grid
    assert box is not None
    # The cell and those around it, in the pixels of the training image.
    assert box.top == round(max(row - 1, 0) * 48 / rows)
    assert box.left == round(max(column - 1, 0) * 96 / columns)
    assert box.top + box.height == round(min(row + 2, rows) * 48 / rows)
    assert box.left + box.width == round(min(column + 2, columns) * 96 / columns)
    words = f"most like {place.origin.image}, left {box.left}, top {box.top} ({box.width} x"
    assert words in str(place) and f"pixels), found by {place.scale}: " in str(place)
    assert place.as_json()["normal"] == place.origin.image
    assert place.as_json()["normal_box"]["top"] == box.top


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: Image.new("L", (96, 48)).save(file)])
def test_an_image_that_is_not_there_or_another_is_told_by_name_alone(
    model: AnoMem, odd: Images, spoil: object
) -> None:
    origin = model.explain(odd).odd[0].origin
    assert origin is not None
    file = Path(origin.image)
    content = file.read_bytes()
    assert callable(spoil)
    try:
        spoil(file)
        place = model.explain(odd).odd[0]
    finally:
        file.write_bytes(content)
    assert place.normal_box is None and place.cell is not None
    row, column = place.cell
    rows, columns = place.grid
    expected = f"{file}, row {row + 1} of {rows}, column {column + 1} of {columns}"
    assert str(place).endswith(expected)


def test_a_place_of_a_labelled_normal_has_no_training_image(model: AnoMem, odd: Images) -> None:
    adapted = copy.deepcopy(model).adapt(odd[None], [0])
    labelled = [place for place in adapted.explain(255 - odd).odd if place.origin is None]
    assert labelled and labelled[0].as_json()["normal"] is None
    assert str(labelled[0]).endswith("most like an image labelled normal")


def test_neighbours_are_one_place(model: AnoMem, normals: list[Path]) -> None:
    for file in normals[:5]:
        boxes = [place.box for place in model.explain(file).odd]
        assert 1 <= len(boxes) <= 10 and len(set(boxes)) == len(boxes)


def test_of_tiles_the_place_lies_in_its_tile(normals: list[Path], odd: Images) -> None:
    tiled = Config(
        images=ImageChoices(size=(48, 48), framing="tile"),
        encoder=CONFIG.encoder,
        memory=CONFIG.memory,
    )
    model = AnoMem(tiled).fit([str(file) for file in normals])
    assert {each.tile for each in model.origins_} == {0, 1, 2}
    place = model.explain(odd).odd[0]
    assert place.box.left < 86 and place.box.left + place.box.width > 62
    assert place.normal_box is not None and place.origin is not None
    left = {0: 0, 1: 24, 2: 48}[place.origin.tile]
    assert left <= place.normal_box.left < left + 48
