from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from skimage import data
from torch.nn.functional import interpolate

from anomem.images import resize
from anomem.images.image_set import tensor_of
from anomem.images.resize import ImageShape, batch_to_shape, resampled, to_shape

PHOTO: npt.NDArray[np.uint8] = data.astronaut()


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (700, 600)])
def test_resize_is_that_of_pillow(size: tuple[int, int]) -> None:
    height, width = size
    expected = Image.fromarray(PHOTO).resize((width, height), Image.Resampling.BILINEAR)
    resized = np.moveaxis(to_shape(PHOTO, ImageShape(3, height, width)), 0, 2)
    assert np.abs(resized.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_grey_value_is_that_of_pillow() -> None:
    expected = np.asarray(Image.fromarray(PHOTO).convert("L")).astype(int)
    grey = to_shape(PHOTO, ImageShape(1, *PHOTO.shape[:2]))[0]
    assert np.abs(grey.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_image_of_that_shape_passes_untouched(channels: int, dtype: Any) -> None:
    image = PHOTO[:40, :56, :channels].astype(dtype) * (np.iinfo(dtype).max // 255)
    expected = np.moveaxis(image, -1, 0)
    np.testing.assert_array_equal(to_shape(image, ImageShape(channels, 40, 56)), expected)


def test_grey_is_repeated() -> None:
    image = PHOTO[:40, :56, :1]
    for shape in (ImageShape(3, 40, 56), ImageShape(3, 16, 16)):
        red, green, blue = to_shape(image, shape)
        assert np.array_equal(red, green) and np.array_equal(red, blue)
    assert np.array_equal(to_shape(image, ImageShape(3, 40, 56))[0], image[..., 0])


@given(
    st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 3]), st.sampled_from([1, 3]),
    st.sampled_from([np.uint8, np.uint16]),
)  # fmt: skip
@settings(deadline=None, max_examples=20)
def test_any_size_fits_and_white_stays_white(
    height: int, width: int, channels: int, wanted: int, dtype: Any
) -> None:
    white = np.full((height, width, channels), np.iinfo(dtype).max, dtype)
    resized = to_shape(white, ImageShape(wanted, 16, 24))
    assert resized.shape == (wanted, 16, 24) and resized.dtype == dtype
    assert (resized == np.iinfo(dtype).max).all()


def test_batch_is_what_its_images_are() -> None:
    batch = np.stack([PHOTO[:300, :300], PHOTO[200:500, 200:500]] * 40)
    shape = ImageShape(1, 32, 32)
    resized = batch_to_shape(batch, shape)
    for index in (0, 1, 79):
        np.testing.assert_array_equal(resized[index], to_shape(batch[index], shape))


@pytest.mark.parametrize(
    "array",
    [PHOTO[None, ::-1], PHOTO[None, :, ::-2], np.broadcast_to(PHOTO[:1, :1], (1, 8, 8, 3))],
)
def test_array_of_strange_layout_becomes_a_tensor(array: npt.NDArray[np.uint8]) -> None:
    tensor = tensor_of(batch_to_shape(array, ImageShape(3, *array.shape[1:3])))
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)


@pytest.mark.parametrize("size", [(300, 500), (400, 37), (50, 40)])
@pytest.mark.parametrize("wanted", [(64, 64), (64, 96)])
def test_strips_come_to_what_pytorch_makes_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    monkeypatch.setattr(resize, "_STRIP", 7 * size[1] * 3)
    image = data.astronaut()[: size[0], : size[1]]
    found = resampled(
        lambda start, stop: image[start:stop], size, first=(0, 0), length=size, wanted=wanted
    )
    whole = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    expected = interpolate(whole, wanted, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)


def test_beyond_the_image_its_edge_is_repeated() -> None:
    image = data.astronaut()[:90, :200]
    padded = np.pad(image, ((60, 50), (0, 0), (0, 0)), mode="edge")

    def small(each: npt.NDArray[np.uint8], top: int) -> npt.NDArray[np.float32]:
        return resampled(
            lambda start, stop: each[start:stop],
            each.shape[:2],
            first=(top, 0),
            length=(200, 200),
            wanted=(32, 32),
        )

    np.testing.assert_allclose(small(image, -60), small(padded, 0), atol=1e-3)
