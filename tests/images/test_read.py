from pathlib import Path

import numpy as np
import pytest
from photo_crops import CROPS, SHAPE, WHOLE
from PIL import Image

from anomem.images.framing import Framing
from anomem.images.open import open_images
from anomem.images.read import read
from anomem.images.resize import ImageShape, to_shape


def test_bad_images_are_told_apart(folder: Path) -> None:
    batch = read(open_images(folder), [4, 3, 0, 1], WHOLE)
    assert batch.image.tolist() == [4, 0]
    expected = np.stack([to_shape(CROPS[index], SHAPE) for index in (4, 0)])
    np.testing.assert_array_equal(batch.images, expected)
    assert sorted(batch.errors) == [1, 3]
    assert str(batch.errors[1]).endswith(
        "1.png: the file is empty (0 bytes); remove it or export it again."
    )


def test_nothing_readable_gives_an_empty_batch(folder: Path) -> None:
    batch = read(open_images(folder), [1, 3], WHOLE)
    assert (
        batch.images.shape == (0, 3, 32, 40)
        and batch.image.tolist() == []
        and len(batch.errors) == 2
    )
    assert read(open_images(folder), [], WHOLE).images.shape == (0, 3, 32, 40)
    assert read(open_images(CROPS), [], WHOLE).images.shape == (0, 3, 32, 40)


def test_threads_do_not_change_the_order() -> None:
    images = open_images([Image.fromarray(crop) for crop in CROPS])
    found = read(images, range(100), WHOLE).images
    np.testing.assert_array_equal(found, read(open_images(CROPS), range(100), WHOLE).images)


def test_one_deep_image_makes_all_deep_exactly() -> None:
    deep = CROPS[1].astype(np.uint16) * 257 + 1
    batch = read(open_images([CROPS[0], deep]), [0, 1], WHOLE)
    assert batch.images.dtype == np.uint16
    np.testing.assert_array_equal(
        batch.images.transpose(0, 2, 3, 1), [CROPS[0].astype(np.uint16) * 257, deep]
    )


def test_range_of_an_array_is_not_copied() -> None:
    crops = CROPS.copy()
    images = open_images(crops)
    batch = read(images, range(10, 20), WHOLE).images
    assert np.shares_memory(batch, crops)
    np.testing.assert_array_equal(batch, read(images, list(range(10, 20)), WHOLE).images)
    np.testing.assert_array_equal(batch.transpose(0, 2, 3, 1), crops[10:20])


@pytest.mark.parametrize("indices", [[5, 3, 9], [7, 7], [99, 98], [0, 2, 4]])
def test_any_indices_of_an_array(indices: list[int]) -> None:
    batch = read(open_images(CROPS), indices, WHOLE)
    assert batch.image.tolist() == indices and batch.errors == {}
    np.testing.assert_array_equal(batch.images.transpose(0, 2, 3, 1), CROPS[indices])


@pytest.mark.parametrize("shape", [ImageShape(1, 32, 40), ImageShape(3, 16, 16)])
def test_array_of_another_shape_is_converted_as_its_images_are(shape: ImageShape) -> None:
    batch = read(open_images(CROPS), [3, 8], Framing("resize", shape))
    expected = np.stack([to_shape(CROPS[index], shape) for index in (3, 8)])
    np.testing.assert_array_equal(batch.images, expected)


def test_read_only_array_is_read() -> None:
    crops = CROPS.copy()
    crops.flags.writeable = False
    batch = read(open_images(crops), range(3), WHOLE)
    np.testing.assert_array_equal(batch.images.transpose(0, 2, 3, 1), crops[:3])


def test_index_beyond_the_array_is_an_error() -> None:
    with pytest.raises(IndexError):
        read(open_images(CROPS), range(99, 101), WHOLE)
