import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from anomem.images.errors import ImageError
from anomem.images.frame_shape import (
    TypicalImage,
    proportionate,
    proportionate_shape,
    square_shape,
    typical_image,
    what_is_lost,
)
from anomem.images.open import open_images
from anomem.images.resize import ImageShape

PHOTO: npt.NDArray[np.uint8] = data.astronaut()


def _typical(*sizes: tuple[int, int]) -> TypicalImage:
    return typical_image(open_images([np.zeros(size, np.uint8) for size in sizes]))


@pytest.mark.parametrize(
    ("height", "width", "side"), [(512, 300, 64), (50, 61, 48), (5, 900, 16), (16, 16, 16)]
)
def test_square_has_the_shorter_side(height: int, width: int, side: int) -> None:
    assert square_shape(_typical((height, width))) == ImageShape(1, side, side)


def test_side_of_the_square_is_the_median_and_at_most_the_longest() -> None:
    typical = typical_image(open_images([PHOTO[:side, :200] for side in (20, 100, 120)]))
    assert square_shape(typical, longest=256) == ImageShape(3, 96, 96)
    assert square_shape(typical, longest=60) == ImageShape(3, 56, 56)


@pytest.mark.parametrize("side", [16, 28, 32, 48, 64, 100, 900])
def test_square_images_have_a_square_shape(side: int) -> None:
    typical = _typical((side, side))
    assert proportionate_shape(typical) == square_shape(typical)


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (512, 204, (96, 40)),
        (204, 512, (40, 96)),
        (1080, 1920, (48, 80)),
        (500, 510, (64, 64)),
        (50, 61, (48, 56)),
        (5, 900, (16, 256)),
        (20, 30, (16, 24)),
    ],
)
def test_shape_keeps_the_proportions_in_no_more_pixels_than_a_square(
    height: int, width: int, shape: tuple[int, int]
) -> None:
    assert proportionate_shape(_typical((height, width))) == ImageShape(1, *shape)


def test_as_many_upright_as_lying_images_are_square() -> None:
    typical = _typical((300, 100), (100, 300), (400, 100), (100, 400))
    assert typical.aspect == pytest.approx(1)
    assert proportionate_shape(typical) == ImageShape(1, 64, 64)


@pytest.mark.parametrize(
    ("side", "aspect", "step", "size"),
    [
        (224, 512 / 204, 16, (352, 144)),
        (224, 204 / 512, 8, (144, 352)),
        (96, 0.5625, 8, (72, 128)),
        (100, 1.0, 8, (100, 100)),
        (100, 1.01, 8, (100, 100)),
        (32, 40.0, 16, (208, 16)),
    ],
)
def test_one_number_keeps_the_proportions(
    side: int, aspect: float, step: int, size: tuple[int, int]
) -> None:
    assert proportionate(side, aspect, step) == size


def test_only_the_part_that_counts_is_looked_at() -> None:
    typical = typical_image(open_images(PHOTO[None]), part=lambda size: (size[0], size[1] // 4))
    assert (typical.height, typical.width) == (512, 128)
    assert typical.aspect == pytest.approx(4)


@pytest.mark.parametrize(
    ("kind", "frame", "told"),
    [
        ("resize", (64, 64), "are stretched to 64 x 64: a crack of 8 pixels becomes 1;"),
        ("resize", (352, 144), "are brought to 352 x 144: a crack of 8 pixels becomes 5.5;"),
        ("resize", (512, 204), "are brought to 512 x 204, and lose nothing"),
        ("letterbox", (64, 64), "are fitted into 64 x 64: a crack of 8 pixels becomes 1;"),
        ("tile", (64, 64), "are cut into tiles of 64 x 64, at full detail"),
    ],
)
def test_what_is_lost_is_told_by_the_width_of_a_crack(
    kind: str, frame: tuple[int, int], told: str
) -> None:
    sentence = what_is_lost(_typical((512, 204)), kind, ImageShape(1, *frame))
    assert sentence.startswith(f"images of 512 x 204 pixels (height x width, the median) {told}")


def test_colour_counts_where_channels_differ() -> None:
    grey = np.repeat(PHOTO[None, ..., :1], 3, axis=3)
    assert not typical_image(open_images(grey)).colour
    assert typical_image(open_images([grey[0], PHOTO])).colour


def test_unreadable_images_are_passed_over() -> None:
    bad = Image.new("F", (40, 40))
    assert typical_image(open_images([bad, Image.fromarray(PHOTO)])).height == 512
    with pytest.raises(ImageError, match="image 0: the pixels are 32-bit floats"):
        typical_image(open_images([bad, bad]))
