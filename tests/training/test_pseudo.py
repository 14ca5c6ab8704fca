import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torch import Tensor

from anomem.training.draws import Chance
from anomem.training.pseudo import (
    PSEUDO_ANOMALIES,
    cutpaste,
    cutpaste_scar,
    noise,
    patched,
    pseudo_anomalies,
    rotate90,
    rotate180,
)

PHOTO: npt.NDArray[np.uint8] = data.astronaut()
SIZES = [(32, 32), (40, 56), (64, 33)]


def photographs(count: int = 5, channels: int = 3, size: tuple[int, int] = (32, 32)) -> Tensor:
    """Crops of a photograph, (B, C, H, W) in [0, 1]."""
    height, width = size
    crops = [PHOTO[30 * k : 30 * k + height, 50 * k : 50 * k + width] for k in range(count)]
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return batch[:, :channels]


def flats(count: int, channels: int = 1, size: tuple[int, int] = (32, 32)) -> Tensor:
    """Images of one grey value each, every one another."""
    values = torch.linspace(0.1, 0.7, count).view(count, 1, 1, 1)
    return values.expand(count, channels, *size)


def seeded(seed: int) -> Chance:
    return Chance(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", PSEUDO_ANOMALIES)
def test_every_image_is_changed_within_range(
    kind: str, channels: int, size: tuple[int, int]
) -> None:
    images = photographs(5, channels, size)
    before = images.clone()
    altered = PSEUDO_ANOMALIES[kind](images, seeded(1))
    assert altered.shape == images.shape and altered.dtype == torch.float32
    assert altered.min() >= 0 and altered.max() <= 1
    assert (altered != images).flatten(1).any(dim=1).all()
    assert torch.equal(images, before)


@pytest.mark.parametrize("kind", ["cutpaste", "cutpaste_scar", "noise"])
def test_follows_the_generator(kind: str) -> None:
    images, alter = photographs(), PSEUDO_ANOMALIES[kind]
    assert torch.equal(alter(images, seeded(1)), alter(images, seeded(1)))
    assert not torch.equal(alter(images, seeded(1)), alter(images, seeded(2)))


@pytest.mark.parametrize("kind", PSEUDO_ANOMALIES)
def test_single_image(kind: str) -> None:
    image = photographs(1, 3, (33, 48))
    altered = PSEUDO_ANOMALIES[kind](image, seeded(4))
    assert altered.shape == image.shape and not torch.equal(altered, image)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotations_turn_by_their_angle(quarters: int) -> None:
    images = photographs(3)
    turned = PSEUDO_ANOMALIES[f"rotate{90 * quarters}"](images, seeded(0))
    assert torch.equal(turned, torch.rot90(images, quarters, dims=(2, 3)))


def test_half_turn_needs_no_stretching() -> None:
    images = photographs(2, 3, (24, 40))
    assert torch.equal(rotate180(images, seeded(0)), images.flip(2, 3))


@given(seed=st.integers(0, 10_000), size=st.sampled_from(SIZES), count=st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_cutpaste_changes_one_rectangle_taken_from_the_image_itself(
    seed: int, size: tuple[int, int], count: int
) -> None:
    images = flats(count, 1, size)
    altered = cutpaste(images, seeded(seed))
    for k in range(count):
        changed = altered[k, 0] != images[k, 0]
        donor = float(images[k, 0, 0, 0])
        pasted = altered[k, 0][changed]
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        box = int(rows.max() - rows.min() + 1) * int(columns.max() - columns.min() + 1)
        assert box == int(changed.sum())
        assert 0 < box <= size[0] * size[1]
        torch.testing.assert_close(pasted, pasted[:1].expand_as(pasted))
        assert 0.79 * donor <= float(pasted[0]) <= min(1.26 * donor, 1)


def test_where_a_patch_is_told() -> None:
    images = flats(5)
    altered, patch = patched(images, seeded(3))
    assert patch.shape == images.shape
    assert torch.equal(altered != images, patch == 1)
    assert torch.equal(cutpaste(images, seeded(3)), altered)


def test_patches_differ_from_their_donor_in_contrast_and_sharpness() -> None:
    images = (torch.arange(64) % 4 < 2).float().expand(1, 1, 64, 64) * 0.2 + 0.4
    depths, lengths = [], []
    for seed in range(60):
        altered, inside = patched(images, seeded(seed))
        rows, columns = inside[0, 0].nonzero(as_tuple=True)
        patch = altered[0, 0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        if patch.shape[1] < 16:
            continue
        row = patch[len(patch) // 2] - patch.mean()
        depths.append(float(row.std() / patch.mean()))
        lengths.append(patch.shape[1] / max(1, int((row[1:] * row[:-1] < 0).sum())))
    assert max(depths) > 1.8 * min(depths)
    assert max(lengths) > 1.8 * min(lengths)


def test_scars_are_thin_and_turned() -> None:
    images = flats(200, 1, (64, 64))
    changed = (cutpaste_scar(images, seeded(0)) != images)[:, 0]
    share = changed.float().mean(dim=(1, 2))
    assert share.min() > 0 and share.max() < 0.5 * 0.12 * 1.3
    boxes = [
        (1 + int(rows.max() - rows.min())) * (1 + int(columns.max() - columns.min()))
        for rows, columns in (c.nonzero(as_tuple=True) for c in changed)
    ]
    slanted = torch.tensor(boxes) > 2 * changed.sum(dim=(1, 2))
    assert 50 < int(slanted.sum()) < 190


def test_noise_has_grains_of_several_sizes() -> None:
    images = torch.full((40, 3, 32, 32), 0.5)
    jumps = []
    for seed in range(20):
        added = noise(images, seeded(seed)) - images
        assert 0.02 < added.std() < 0.31
        jumps.append(float(added.diff(dim=3).std() / added.std()))
    assert max(jumps) > 1.2 and min(jumps) < 0.4


def test_noise_of_each_image_has_its_own_strength() -> None:
    added = noise(torch.full((100, 1, 32, 32), 0.5), seeded(0)) - 0.5
    spread = added.std(dim=(1, 2, 3))
    assert spread.max() > 1.5 * spread.min()


def test_kinds_share_the_batch_equally() -> None:
    images = photographs(6)
    altered, kind = pseudo_anomalies(images, ["rotate90", "noise"], seeded(2))
    chance = seeded(2)
    expected = torch.cat([rotate90(images[:3], chance), noise(images[3:], chance)])
    assert torch.equal(altered, expected)
    assert kind.tolist() == [0, 0, 0, 1, 1, 1]


def test_more_kinds_than_images() -> None:
    images = photographs(2)
    altered, kind = pseudo_anomalies(images, list(PSEUDO_ANOMALIES), seeded(0))
    assert altered.shape == images.shape and kind.tolist() == [0, 1]
    assert (altered != images).flatten(1).any(dim=1).all()
