"""Photographs that are near copies of others, on crops of real ones."""

import io
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from anomem import AnoMem, Config
from anomem.config import ImageChoices
from anomem.images.near_copies import near_copies

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    pixels: Images

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Tensor) -> Tensor:
        return torch.from_numpy(self.pixels)[indices][:, None]


def weaves(count: int) -> Images:
    """Aligned up to a phase, with the grain of a camera: some pairs hardly differ but in grain."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:96, :96]
    up, along = rng.uniform(0, 6, (2, count, 1, 1))
    grey = 128 + 50 * np.sin(x / 3 + up) + 40 * np.cos(y / 4 + along)
    return (grey + rng.normal(0, 8, grey.shape)).clip(0, 255).astype(np.uint8)


def bricks() -> Images:
    """Sixty-four squares of one wall, which share no pixel."""
    return data.brick().reshape(8, 64, 8, 64).swapaxes(1, 2).reshape(64, 64, 64)


def saved_as_jpeg(image: Images) -> Images:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=90)
    return np.asarray(Image.open(file))


def shifted(image: Images) -> Images:
    return np.pad(image, ((1, 0), (0, 1)), mode="edge")[:-1, 1:]


def brighter(image: Images) -> Images:
    return (image * 1.04 + 3).clip(0, 255).astype(np.uint8)


def all_of_it(image: Images) -> Images:
    return saved_as_jpeg(brighter(shifted(image)))


@pytest.mark.parametrize("again", [saved_as_jpeg, shifted, brighter, all_of_it])
@pytest.mark.parametrize("images", [weaves(60), bricks()], ids=["weaves", "bricks"])
def test_near_copies_have_the_number_of_their_image(images: Images, again: object) -> None:
    assert callable(again)
    number = near_copies(Frames(np.concatenate([images, [again(image) for image in images]])))
    found = number[: len(images)] == number[len(images) :]
    assert found.mean() > 0.9 and len(np.unique(number)) >= len(images)


def test_different_images_are_none(digits: dict[str, Images]) -> None:
    for images in (weaves(300), bricks(), digits["train"], digits["normal"], digits["anomalous"]):
        assert len(np.unique(near_copies(Frames(images)))) == len(images)


def test_a_few_images_or_flat_ones_are_no_copies() -> None:
    flat = np.full((20, 32, 32), 7, np.uint8)
    assert len(np.unique(near_copies(Frames(flat)))) == 20
    assert len(near_copies(Frames(weaves(2)))) == 2


def test_near_copies_are_told_and_held_out_together(hasty: Config) -> None:
    hasty = replace(hasty, images=ImageChoices(size=(64, 64)))
    images = bricks()[:40]
    twice = np.concatenate([images, [all_of_it(image) for image in images]])
    with pytest.warns(UserWarning, match=r"of 80 normals are near copies.*shows the same as image"):
        model = AnoMem(hasty, device="cpu").fit(twice)
    assert model.calibration().groups < 25 < len(model.calibration())
    with pytest.warns(UserWarning, match="of 80 normals are near copies"):
        AnoMem(hasty, device="cpu").fit(twice, groups=[str(i % 4) for i in range(80)])
