"""The nearest of many vectors, beside a comparison with all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anomem.model.inverted_file import InvertedFile


def clustered(count: int, seed: int) -> Tensor:
    """Vectors around fifty points, as features of images are."""
    generator = torch.Generator().manual_seed(seed)
    points = 3 * torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    around = points[torch.randint(50, (count,), generator=generator)]
    return around + torch.randn(count, 12, generator=generator)


@pytest.fixture(scope="module")
def vectors() -> Tensor:
    return clustered(900, seed=1)


def test_the_farthest_rows_of_each_image_find_the_nearest_and_others_nearly(
    vectors: Tensor,
) -> None:
    rows = clustered(3 * 400, seed=2).view(3, 400, 12)
    rows[1, :9] += 20
    found = InvertedFile.build(vectors).nearest(rows)
    distance = (rows - vectors[found]).norm(dim=2)
    for image, own in zip(rows, distance, strict=True):
        true = torch.cdist(image, vectors).amin(dim=1)
        assert (own >= true - 1e-4).all()
        farthest = true.topk(20).indices
        torch.testing.assert_close(own[farthest], true[farthest])
        assert ((own - true).abs() < 1e-4).float().mean() > 0.9
        assert (own / true).mean() < 1.02


def test_a_row_finds_the_same_in_images_alone_and_among_others(vectors: Tensor) -> None:
    file, rows = InvertedFile.build(vectors), clustered(5 * 200, seed=3).view(5, 200, 12)
    together = file.nearest(rows)
    for image, found in zip(rows, together, strict=True):
        assert torch.equal(file.nearest(image[None])[0], found)


@pytest.mark.parametrize("further", [0, 40])
def test_masks_find_what_the_groups_find(vectors: Tensor, further: int) -> None:
    rows = clustered(3 * 400, seed=2).view(3, 400, 12)
    file = InvertedFile.build(vectors, further)
    found, masked = file.nearest(rows), file.nearest_by_masks(rows, vectors)
    assert torch.equal(found, masked)
    nearest = torch.cdist(rows, vectors[None]).argmin(dim=2)
    assert not torch.equal(found, nearest)


@pytest.mark.parametrize("count", [1, 2, 7, 65])
def test_few_rows_are_compared_with_all(count: int) -> None:
    vectors, rows = clustered(count, seed=4), clustered(30, seed=5)[None]
    found = InvertedFile.build(vectors).nearest(rows)
    assert found[0].tolist() == torch.cdist(rows[0], vectors).argmin(dim=1).tolist()


def test_equal_vectors_are_one_group() -> None:
    file = InvertedFile.build(torch.ones(100, 3, dtype=torch.float16))
    assert file.ends == (0, 100)
    assert file.nearest(torch.zeros(1, 50, 3)).shape == (1, 50)


def test_known_centres_give_the_same_groups(vectors: Tensor) -> None:
    file = InvertedFile.build(vectors)
    assert torch.equal(InvertedFile.build(vectors, around=file.centres).number, file.number)


def test_with_further_vectors_nothing_is_farther_than_without(vectors: Tensor) -> None:
    """They are compared with every row, also with those that are near others."""
    rows, own = clustered(3 * 400, seed=2).view(3, 400, 12), vectors[:700]
    before = InvertedFile.build(own).nearest(rows)
    found = InvertedFile.build(vectors, further=200).nearest(rows)
    distance = (rows - vectors[found]).norm(dim=2)
    assert (distance <= (rows - own[before]).norm(dim=2) + 1e-4).all()
    assert (distance <= torch.cdist(rows, vectors[700:]).amin(dim=2) + 1e-4).all()
