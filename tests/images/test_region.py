from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from anomem.images.errors import ImageError
from anomem.images.region import colour_inside, read_region, region_at

LEFT = np.repeat([[True, False]], 2, axis=0)


def test_corners_are_shares_of_width_and_height() -> None:
    region = region_at(read_region("0,0 0.5,0 0.5,1 0,1"), (8, 12))
    np.testing.assert_array_equal(region, np.arange(12)[None].repeat(8, 0) < 6)
    triangle = region_at(read_region("0,0 1,0 0,1"), (50, 50))
    rows, columns = np.indices((50, 50))
    assert triangle[rows + columns < 48].all() and not triangle[rows + columns > 51].any()


def test_a_mask_is_bright_inside(tmp_path: Path) -> None:
    Image.fromarray((LEFT * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    for given in (tmp_path / "mask.png", str(tmp_path / "mask.png"), LEFT, LEFT.astype(int) * 3):
        np.testing.assert_array_equal(read_region(given), LEFT)


def test_a_region_is_scaled_to_the_image() -> None:
    np.testing.assert_array_equal(region_at(LEFT, (2, 2)), LEFT)
    np.testing.assert_array_equal(region_at(LEFT, (1, 6)), [[True] * 3 + [False] * 3])


def test_a_region_smaller_than_a_pixel_is_that_pixel() -> None:
    speck = np.zeros((100, 100), dtype=bool)
    speck[70, 20] = True
    assert np.argwhere(region_at(speck, (4, 4))).tolist() == [[2, 0]]


def test_a_region_drawn_on_a_transparent_ground_is_what_is_drawn(tmp_path: Path) -> None:
    drawn = np.dstack([np.full((2, 2, 3), 255, np.uint8), LEFT.astype(np.uint8) * 255])
    Image.fromarray(drawn).save(tmp_path / "region.png")
    np.testing.assert_array_equal(read_region(tmp_path / "region.png"), LEFT)
    Image.fromarray(LEFT.astype(np.uint8)).save(tmp_path / "ones.png")
    np.testing.assert_array_equal(read_region(tmp_path / "ones.png"), LEFT)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_colour_inside_is_the_mean_of_the_region(dtype: npt.DTypeLike) -> None:
    image = data.astronaut()[:20, :30].astype(dtype)
    colour = colour_inside(image, region_at(LEFT, (20, 30)))
    assert colour.dtype == dtype
    np.testing.assert_array_equal(colour, image[:, :15].reshape(-1, 3).mean(axis=0).round())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("0,0 1,1", "has 2 corners; give at least three"),
        ("0,0 20,0 0,20", "has a corner at 20; corners are shares"),
        (np.zeros((3, 3)), "holds no pixel"),
        (np.zeros((3, 3, 3)), "has 3 dimensions"),
    ],
)
def test_no_region_is_told(given: str | npt.NDArray[np.float64], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_region(given)


def test_a_missing_mask_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no such file"):
        read_region(tmp_path / "none.png")
