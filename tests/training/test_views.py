import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings, strategies as st
from skimage import data
from torch import Tensor

from anomem.config import ViewChoices
from anomem.training.draws import Chance
from anomem.training.views import random_view

PHOTO: npt.NDArray[np.uint8] = data.astronaut()
STILL = ViewChoices(crop=1.0, flip=False, brightness=0, contrast=0, saturation=0, blur=0, noise=0)


def photographs(count: int = 4, channels: int = 3, size: tuple[int, int] = (40, 56)) -> Tensor:
    """Crops of a photograph, (B, C, H, W) in [0, 1]."""
    height, width = size
    crops = [PHOTO[40 * k : 40 * k + height, 60 * k : 60 * k + width] for k in range(count)]
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return batch[:, :channels]


def view_of(images: Tensor, choices: ViewChoices, seed: int = 0) -> Tensor:
    return random_view(images, choices, Chance(torch.Generator().manual_seed(seed)))


def still_but(**choices: float) -> ViewChoices:
    return ViewChoices(**({**STILL.__dict__, **choices}))


@given(
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    crop=st.floats(0.05, 1),
    strength=st.floats(0, 1),
    flip=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=20)
def test_shape_and_range_are_kept(
    channels: int, size: tuple[int, int], crop: float, strength: float, flip: bool, seed: int
) -> None:
    images = photographs(3, channels, size)
    before = images.clone()
    view = view_of(images, ViewChoices(crop, flip, *[strength] * 5), seed)
    assert view.shape == images.shape and view.dtype == torch.float32
    assert view.min() >= 0 and view.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_any_change_the_view_is_the_image(channels: int) -> None:
    images = photographs(channels=channels)
    for seed in range(5):
        torch.testing.assert_close(view_of(images, STILL, seed), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("choices", [ViewChoices(), ViewChoices(0.2, True, 0.4, 0.4, 0.4, 1.0)])
def test_views_follow_the_generator(choices: ViewChoices) -> None:
    images = photographs()
    assert torch.equal(view_of(images, choices, 7), view_of(images, choices, 7))
    assert not torch.equal(view_of(images, choices, 7), view_of(images, choices, 8))


def test_each_image_has_its_own_view() -> None:
    images = photographs(1).expand(6, -1, -1, -1)
    view = view_of(images, ViewChoices())
    for i in range(6):
        for j in range(i):
            assert not torch.equal(view[i], view[j])


def test_half_of_the_views_are_mirrored() -> None:
    images = photographs(1).expand(400, -1, -1, -1)
    view = view_of(images, still_but(flip=True))
    same = (view - images).abs().amax(dim=(1, 2, 3)) < 1e-3
    mirrored = (view - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("least", [0.2, 0.8, 0.95])
def test_crop_keeps_at_least_its_share_of_the_area(least: float) -> None:
    rows, columns = torch.linspace(0, 1, 64), torch.linspace(0, 1, 64)
    ramp = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[:1]
    across = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[1:]
    views = [
        view_of(image.expand(300, 1, 64, 64), still_but(crop=least), 5) for image in (ramp, across)
    ]
    height, width = (view.amax((1, 2, 3)) - view.amin((1, 2, 3)) for view in views)
    area, aspect = height * width, width / height
    assert least - 0.03 < float(area.min()) and float(area.max()) < 1.01
    assert float(aspect.min()) > 0.73 and float(aspect.max()) < 1.36
    assert float(area.max() - area.min()) > 0.5 * (1 - least)


def test_brightness_scales_every_pixel_alike() -> None:
    images = photographs() * 0.5 + 0.1
    ratio = view_of(images, still_but(brightness=0.4)) / images
    factor = ratio.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(ratio, factor.expand_as(ratio), atol=1e-2, rtol=0)
    assert ((factor > 0.6) & (factor < 1.4)).all() and factor.std() > 0.01


def test_contrast_keeps_the_mean() -> None:
    images = photographs() * 0.2 + 0.4
    view = view_of(images, still_but(contrast=1.0))
    torch.testing.assert_close(view.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-4, rtol=0)
    assert (view - images).abs().max() > 0.01


def test_saturation_keeps_the_luma_and_leaves_grey_alone() -> None:
    images = photographs() * 0.2 + 0.4
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    view = view_of(images, still_but(saturation=1.0))
    torch.testing.assert_close((view * luma).sum(1), (images * luma).sum(1), atol=1e-4, rtol=0)
    assert (view - images).abs().max() > 0.01
    grey = images[:, :1]
    torch.testing.assert_close(view_of(grey, still_but(saturation=1.0)), grey, atol=1e-4, rtol=0)
    equal = grey.expand_as(images)
    torch.testing.assert_close(view_of(equal, still_but(saturation=1.0)), equal, atol=1e-4, rtol=0)


def test_blur_mixes_in_the_binomial_neighbourhood() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    view = view_of(image, still_but(blur=1.0))[0, 0]
    amount = (1 - float(view[4, 4])) / 0.75
    assert 0 < amount <= 1
    weights = [1, 2, 1]
    for i in range(3):
        for j in range(3):
            expected = amount * weights[i] * weights[j] / 16 + (1 - amount) * (i == j == 1)
            assert float(view[3 + i, 3 + j]) == pytest.approx(expected, abs=1e-4)
    assert float(view.sum()) == pytest.approx(1, abs=1e-4)


def test_noise_is_as_strong_as_asked() -> None:
    images = torch.full((200, 1, 32, 32), 0.5)
    deviation = (view_of(images, still_but(noise=0.1)) - images).std(dim=(1, 2, 3))
    assert deviation.max() < 0.11 and 0.04 < deviation.mean() < 0.06
