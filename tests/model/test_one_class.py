import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from anomem.model.one_class import (
    DeviatingPlaces,
    Mahalanobis,
    MemoryOfImages,
    RememberedImages,
    most_deviating,
    place_norms,
)


def normals(count: int = 200, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(width, width, generator=generator)
    return torch.randn(count, width, generator=generator) @ mixing + 3


def fitted(pooled: Tensor) -> Mahalanobis:
    distance = Mahalanobis(pooled.shape[1])
    distance.fit(pooled)
    return distance


def test_distance_is_that_of_the_shrunk_covariance() -> None:
    pooled, queries = normals(), torch.randn(7, 5)
    covariance = LedoitWolf().fit(pooled.numpy()).covariance_
    found = fitted(pooled)(queries)
    for query, distance in zip(queries, found, strict=True):
        off = query.double().numpy() - pooled.double().numpy().mean(axis=0)
        assert float(distance) == pytest.approx(
            np.sqrt(off @ np.linalg.inv(covariance) @ off), rel=1e-3
        )


def test_rare_directions_count_more() -> None:
    pooled = torch.randn(500, 2) * torch.tensor([10.0, 0.1])
    along, across = fitted(pooled)(torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    assert across > 5 * along


def test_fewer_normals_than_channels() -> None:
    pooled = torch.randn(6, 40)
    assert fitted(pooled)(pooled).isfinite().all()


def test_normals_that_are_all_alike() -> None:
    alike = torch.full((8, 4), 2.0)
    distance = fitted(alike)
    assert distance(alike + 1).isfinite().all()
    assert float(distance(alike).max()) < 1e-3


def test_the_two_most_similar_normals_explain_their_part_of_the_distance() -> None:
    pooled, queries = normals(40), torch.randn(7, 5) * 4
    memory = MemoryOfImages(5)
    memory.fit(pooled)
    offsets = [memory.whitened(each[None])[0].tolist() for each in queries]
    known = [memory.whitened(each[None])[0].tolist() for each in pooled]
    for offset, found in zip(offsets, memory(queries).tolist(), strict=True):
        length = sum(x * x for x in offset) ** 0.5
        cosines = []
        for normal in known:
            along = sum(x * y for x, y in zip(offset, normal, strict=True))
            cosines.append(along / length / sum(y * y for y in normal) ** 0.5)
        nearest = sorted(cosines)[-2:]
        assert found == pytest.approx(length * (1 - sum(nearest) / 2), rel=1e-3, abs=1e-4)


def test_a_memory_tells_kinds_of_normals_where_a_distance_does_not() -> None:
    """Four kinds at the corners of a square: what lies between two of them is nearer the centre."""
    generator = torch.Generator().manual_seed(1)
    corners = torch.tensor([[4.0, 4.0], [4.0, -4.0], [-4.0, 4.0], [-4.0, -4.0]])
    pooled = corners.repeat(50, 1) + 0.3 * torch.randn(200, 2, generator=generator)
    memory = MemoryOfImages(2)
    memory.fit(pooled)
    between, of_a_kind = torch.tensor([[4.0, 0.0], [0.0, -4.0]]), torch.tensor([[4.1, 3.9]])
    gaussian = fitted(pooled)
    assert (gaussian(between) < gaussian(of_a_kind)).all()
    assert (memory(between) > 2 * memory(of_a_kind)).all()


def kinds_of_normals(count: int, generator: torch.Generator, spread: float = 5.0) -> Tensor:
    """Normals in eight channels, of ten kinds ``spread`` apart, or of one where that is 0."""
    kinds = spread * torch.randn(10, 8, generator=torch.Generator().manual_seed(9))
    return torch.randn(count, 8, generator=generator) + kinds[torch.arange(count) % 10]


def test_directions_count_where_normals_are_of_several_kinds_and_not_where_they_are_of_one() -> (
    None
):
    generator = torch.Generator().manual_seed(2)
    powers = []
    for spread in (0.0, 5.0):
        memory = MemoryOfImages(8)
        memory.fit(kinds_of_normals(600, generator, spread))
        memory.weigh(kinds_of_normals(30, generator, spread))
        powers.append(float(memory.power))
    assert powers == [0.0, 2.0]


def test_what_is_recalled_counts_with_the_power_that_held_out_normals_give() -> None:
    generator = torch.Generator().manual_seed(3)
    pooled, queries = kinds_of_normals(600, generator), torch.randn(7, 8, generator=generator)
    linear, memory = MemoryOfImages(8), MemoryOfImages(8)
    linear.fit(pooled)
    memory.fit(pooled)
    memory.weigh(kinds_of_normals(30, generator))
    distance = fitted(pooled)(queries)
    explained = 1 - linear(queries) / distance
    torch.testing.assert_close(memory(queries), distance * (1 - explained) ** 2)


def test_with_none_recalled_the_distance_is_that_of_mahalanobis() -> None:
    pooled, queries = normals(40), torch.randn(7, 5) * 4
    memory = MemoryOfImages(5, neighbours=0)
    memory.fit(pooled)
    assert torch.equal(memory(queries), fitted(pooled)(queries))


def test_fewer_normals_than_are_recalled() -> None:
    memory = MemoryOfImages(5)
    memory.fit(normals(2))
    memory.remember(RememberedImages(normals(1), normals(0), normals(0)))
    assert memory(normals(9)).isfinite().all()


def test_a_normal_trained_on_is_explained_by_others_alone_and_a_labelled_one_by_itself_too() -> (
    None
):
    pooled = normals(40)
    memory, without = MemoryOfImages(5), MemoryOfImages(5)
    memory.fit(pooled)
    without.load_state_dict(memory.state_dict())
    for own in (0, 17, 39):
        others = torch.cat([pooled[:own], pooled[own + 1 :]])
        without.remember(RememberedImages(others, pooled[:0], pooled[:0]))
        one = pooled[own : own + 1]
        assert float(memory(one)) == pytest.approx(float(without(one)), rel=1e-4)
        without.remember(RememberedImages(others, one, pooled[:0]))
        assert float(without(one)) < 0.6 * float(memory(one))
    # A normal that is only nearly the same counts as another one.
    assert (memory(pooled * 1.01) < memory(pooled)).all()


def test_likeness_is_the_cosine_to_anomalies_less_that_to_normals() -> None:
    pooled, queries, anomalous = normals(40), torch.randn(5, 5) * 4, torch.randn(6, 5) * 4 + 3
    memory = MemoryOfImages(5)
    memory.fit(pooled)
    assert memory.likeness(queries).tolist() == [0] * 5
    memory.remember(RememberedImages(pooled, pooled[:0], anomalous))

    def most(query: Tensor, known: Tensor) -> float:
        cosines = []
        for each in known:
            one, other = (memory.whitened(x[None])[0].tolist() for x in (query, each))
            along = sum(x * y for x, y in zip(one, other, strict=True))
            cosines.append(along / math.hypot(*one) / math.hypot(*other))
        return sum(sorted(cosines)[-2:]) / 2

    for query, found in zip(queries, memory.likeness(queries).tolist(), strict=True):
        assert found == pytest.approx(most(query, anomalous) - most(query, pooled), abs=1e-4)


def test_norm_of_every_place() -> None:
    deviation = torch.randn(2, 4, 3, 5)
    norms = place_norms(deviation)
    assert norms.shape == (2, 3, 5)
    for i in range(3):
        for j in range(5):
            expected = sum(float(v) ** 2 for v in deviation[1, :, i, j]) ** 0.5
            assert float(norms[1, i, j]) == pytest.approx(expected, rel=1e-5)


def test_an_image_is_scored_by_its_most_deviating_places() -> None:
    generator = torch.Generator().manual_seed(4)
    fine = torch.rand(3, 6, 8, generator=generator)
    deep = torch.rand(3, 3, 4, generator=generator)
    found = most_deviating([fine, deep], (1.0, 2.0))
    large = torch.nn.functional.interpolate(deep[:, None], (6, 8), mode="bilinear")[:, 0]
    for index in range(3):
        places = [(r, c) for r in range(6) for c in range(8)]
        places.sort(key=lambda p: -float(fine[index][p] + 2 * large[index][p]))
        expected = [sum(float(m[index][p]) for p in places[:10]) / 10 for m in (fine, large)]
        assert found[index].tolist() == pytest.approx(expected, rel=1e-5)


def enlarged(coarse: Tensor, row: int, column: int) -> float:
    """A map of half the size at a place of the finer grid, by the places around it."""
    parts = []
    for position, length in zip((row, column), coarse.shape, strict=True):
        at = min(max((position + 0.5) / 2 - 0.5, 0), length - 1)
        parts.append([(int(at), 1 - at % 1), (min(int(at) + 1, length - 1), at % 1)])
    return sum(
        float(coarse[i, j]) * share_i * share_j
        for i, share_i in parts[0]
        for j, share_j in parts[1]
    )


def test_most_deviating_places_are_found_on_the_first_grid_by_all_scales() -> None:
    fine, coarse = torch.rand(3, 6, 8), torch.rand(3, 3, 4)
    most = DeviatingPlaces.of([fine, coarse], lambdas=(1.0, 2.0))
    deviation = torch.randn(3, 2, 3, 4)
    means = most.mean(deviation)
    for image in range(3):
        grid = [(i, j) for i in range(6) for j in range(8)]
        grid.sort(key=lambda at: -float(fine[image][at]) - 2 * enlarged(coarse[image], *at))
        assert sorted(most.places[image].tolist()) == sorted(i * 8 + j for i, j in grid[:10])
        for channel in range(2):
            values = [enlarged(deviation[image, channel], *at) for at in grid[:10]]
            assert float(means[image, channel]) == pytest.approx(sum(values) / 10, abs=1e-5)


def test_a_grid_of_fewer_than_ten_places_has_all_of_them() -> None:
    most = DeviatingPlaces.of([torch.rand(2, 2, 3)], lambdas=(1.0,))
    deviation = torch.randn(2, 4, 2, 3)
    torch.testing.assert_close(most.mean(deviation), deviation.mean(dim=(2, 3)))


def test_places_are_found_inside_of_what_is_marked_alone() -> None:
    """Each place that a marked pixel lies in; where these are fewer than ten, they are repeated."""
    distances = torch.rand(2, 6, 8)
    inside = torch.zeros(2, 12, 16, dtype=torch.bool)
    inside[0, 3:8, 5:15] = True
    inside[1, [0, 0, 11], [0, 1, 15]] = True
    most = DeviatingPlaces.of([distances], (1.0,), inside)
    for image in range(2):
        cells = {(int(i) // 2, int(j) // 2) for i, j in inside[image].nonzero()}
        order = sorted(cells, key=lambda at: -float(distances[image][at])) * 5
        assert most.places[image].tolist() == [i * 8 + j for i, j in order[:10]]
    everywhere = DeviatingPlaces.of([distances], (1.0,), torch.ones_like(inside))
    assert torch.equal(everywhere.places, DeviatingPlaces.of([distances], (1.0,)).places)
