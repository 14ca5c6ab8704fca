from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from anomem.report.heat import Row, blended, coloured, save_heat, save_table


def test_a_heat_map_has_the_size_of_the_image_and_brightens_with_deviation(tmp_path: Path) -> None:
    heat = np.tile(np.linspace(-1, 7, 33, dtype=np.float32), (20, 1))
    save_heat(heat, tmp_path / "new" / "heat.png")
    with Image.open(tmp_path / "new" / "heat.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (20, 33, 3)
    luma = pixels[0].astype(int) @ [299, 587, 114]
    assert (np.diff(luma) >= 0).all() and luma[-1] > luma[0] + 200_000
    assert (pixels[0, :5] == pixels[0, 0]).all()  # up to the mean of normals
    assert (pixels[0, 28:] == pixels[0, -1]).all()  # from six standard deviations above it


def test_an_overlay_shows_the_image_where_nothing_is_unusual() -> None:
    image = data.astronaut()  # 512 rows, more than are overlaid at a time
    heat = np.zeros((512, 512), np.float32)
    heat[300:, :] = 6.0
    shown = blended(image, heat)
    assert (shown[:300] == image[:300]).all()
    bright = coloured(heat[-1:])[0, 0].astype(float)
    np.testing.assert_allclose(shown[300:], 0.25 * image[300:] + 0.75 * bright, atol=1)


def test_a_table_has_a_row_an_image(tmp_path: Path) -> None:
    grey, colour = data.brick()[:64, :64], data.astronaut()[:64, :64]
    heat = np.ones((64, 64), np.float32)
    mask = np.zeros((64, 64), bool)
    rows = [Row("brick\n+0.1", grey, heat, mask), Row("face\n+9.0", colour, 2 * heat, ~mask)]
    sizes = []
    for count in (1, 2):
        save_table(rows[:count], tmp_path / "new" / f"{count}.png", "two photographs")
        with Image.open(tmp_path / "new" / f"{count}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        sizes.append(pixels.shape)
        assert pixels.std() > 10
    assert sizes[0][1] == sizes[1][1] and sizes[0][0] < sizes[1][0]
