import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from anomem.model.whole_image import WholeImage, WholeImages, in_turn


def directions(count: int, seed: int, off: float = 4.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 6, generator=generator) * torch.arange(1.0, 7.0)
    return normalize(values + off * torch.arange(6.0), dim=1)


def distance(point: torch.Tensor, normals: torch.Tensor) -> float:
    """That of Mahalanobis, with the covariance drawn to a multiple of one as Ledoit and Wolf do."""
    x = normals.double().numpy()
    centred, (count, width) = x - x.mean(axis=0), x.shape
    spread = centred.T @ centred / count
    scale = np.trace(spread) / width
    off = ((spread - scale * np.eye(width)) ** 2).sum()
    noise = sum(((np.outer(row, row) - spread) ** 2).sum() for row in centred) / count**2
    share = min(noise / off, 1.0)
    shrunk = (1 - share) * spread + share * scale * np.eye(width)
    away = point.double().numpy() - x.mean(axis=0)
    return float(np.sqrt(away @ np.linalg.solve(shrunk, away)))


def test_distance_is_that_of_a_slow_formula() -> None:
    normals, images = directions(40, 0), directions(5, 1)
    whole = WholeImage(6)
    whole.fit(normals)
    expected = [distance(image, normals) for image in images]
    np.testing.assert_allclose(whole(images), expected, rtol=1e-4)


def test_an_image_is_measured_from_the_nearest_kind_or_labelled_normal() -> None:
    kinds, labelled = [directions(40, 0), directions(40, 2, off=-4.0)], directions(2, 3, off=30.0)
    whole, images = WholeImages.of(kinds, labelled), torch.cat([directions(9, 1), labelled])
    for image, found in zip(images, whole(images), strict=True):
        distances = []
        for normals in kinds:
            one = WholeImage(6)
            one.fit(normals)
            distances.append(float(one(image[None])))
            level = float(one(normals).mean())
            for other in labelled:
                off = one.whitened(image[None]) - one.whitened(other[None])
                distances.append(float((off.square().sum() + level**2).sqrt()))
        assert float(found) == pytest.approx(min(distances))
    assert torch.equal(torch.cat([whole(image[None]) for image in images]), whole(images))


def test_a_normal_is_rated_by_other_groups_alone() -> None:
    normals = directions(40, 0)
    group = torch.arange(40) // 2
    twins = normals.clone()
    twins[1::2] = twins[::2]  # each image is there twice, in one group
    by_others = in_turn(twins, group, torch.ones(40).bool())
    itself = WholeImage(6)
    itself.fit(twins)
    assert float(by_others.mean()) > float(itself(twins).mean())
    changed = twins.clone()
    changed[:2] = -changed[:2]
    again = in_turn(changed, group, torch.ones(40).bool())
    assert float(again[0]) > 2 * float(by_others[0])  # its twin explains nothing of it


def test_two_groups_of_which_one_is_a_single_image() -> None:
    rated = in_turn(directions(5, 0), torch.tensor([0, 0, 0, 0, 1]), torch.ones(5).bool())
    assert torch.isfinite(rated).all()
