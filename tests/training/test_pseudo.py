import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings, strategies as st
from skimage import data
from torch import Tensor

from anomem.training.draws import Chance
from anomem.training.pseudo import patched, pseudo_anomalies
from anomem.training.ranks import Ranks

PHOTO: npt.NDArray[np.uint8] = data.astronaut()
KINDS = ["rotate90", "rotate180", "rotate270"]
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
@pytest.mark.parametrize("kind", KINDS)
def test_every_image_is_changed_within_range(
    kind: str, channels: int, size: tuple[int, int]
) -> None:
    images = photographs(5, channels, size)
    before = images.clone()
    altered, _ = pseudo_anomalies(images, [kind])
    assert altered.shape == images.shape and altered.dtype == torch.float32
    assert altered.min() >= 0 and altered.max() <= 1
    assert (altered != images).flatten(1).any(dim=1).all()
    assert torch.equal(images, before)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotations_turn_by_their_angle(quarters: int) -> None:
    images = photographs(3)
    turned, _ = pseudo_anomalies(images, [f"rotate{90 * quarters}"])
    assert torch.equal(turned, torch.rot90(images, quarters, dims=(2, 3)))


def test_half_turn_needs_no_stretching() -> None:
    images = photographs(2, 3, (24, 40))
    assert torch.equal(pseudo_anomalies(images, ["rotate180"])[0], images.flip(2, 3))


def test_kinds_share_the_batch_equally() -> None:
    images = photographs(7)
    altered, kind = pseudo_anomalies(images, ["rotate90", "rotate180", "rotate270"])
    assert kind.tolist() == [0, 0, 0, 1, 1, 2, 2]
    for image, turned, number in zip(images, altered, kind.tolist(), strict=True):
        assert torch.equal(turned, torch.rot90(image, 1 + number, dims=(1, 2)))


def test_more_kinds_than_images() -> None:
    images = photographs(2, 3, (24, 40))
    altered, kind = pseudo_anomalies(images, KINDS)
    assert altered.shape == images.shape and kind.tolist() == [0, 1]


@given(world=st.integers(1, 4), own=st.integers(1, 6), kinds=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_processes_turn_their_rows_as_one_turns_all(world: int, own: int, kinds: int) -> None:
    images = torch.rand(world * own, 1, 8, 12)
    whole, number = pseudo_anomalies(images, KINDS[:kinds])
    for rank in range(world):
        ranks = Ranks(None, rank, world)
        turned, kind = pseudo_anomalies(ranks.own(images), KINDS[:kinds], ranks)
        assert torch.equal(turned, ranks.own(whole))
        assert torch.equal(kind, ranks.own(number))


def test_patches_follow_the_generator() -> None:
    images = photographs()
    assert torch.equal(patched(images, seeded(1))[0], patched(images, seeded(1))[0])
    assert not torch.equal(patched(images, seeded(1))[0], patched(images, seeded(2))[0])


@given(seed=st.integers(0, 10_000), size=st.sampled_from(SIZES), count=st.integers(2, 6))
@settings(deadline=None, max_examples=20)
def test_a_patch_changes_one_rectangle_taken_from_the_image_itself(
    seed: int, size: tuple[int, int], count: int
) -> None:
    images = flats(count, 1, size)
    altered, _ = patched(images, seeded(seed))
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
