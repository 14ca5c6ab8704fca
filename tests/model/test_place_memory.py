"""Memories of places: which are chosen, what is recalled, and what is compared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anomem.model.directions import at_right_angles
from anomem.model.place_memory import PlaceMemory, Places, further_centres, k_centre, neighbourhoods


def farthest_next(places: Tensor, size: int, first: int) -> list[int]:
    """One place at a time, by comparing all with all that are chosen."""
    chosen = [first]
    while len(chosen) < size:
        chosen.append(int(torch.cdist(places, places[chosen]).amin(dim=1).argmax()))
    return chosen


@pytest.mark.parametrize(("count", "size"), [(60, 40), (500, 30), (300, 290)])
def test_the_farthest_place_comes_next(count: int, size: int) -> None:
    places = torch.randn(count, 5, generator=torch.Generator().manual_seed(count))
    found = k_centre(places, size, first=count // 2)
    chosen = found.indices.tolist()
    assert chosen == farthest_next(places, size, chosen[0])
    assert len(set(chosen)) == size
    radius = torch.cdist(places, places[chosen]).amin(dim=1).max()
    assert found.radius == pytest.approx(float(radius), rel=1e-4)


def farther_than(places: Tensor, known: Tensor, size: int, radius: float) -> list[int]:
    """One place at a time, by comparing all with all centres."""
    chosen: list[int] = []
    while len(chosen) < size:
        gaps = torch.cdist(places, torch.cat([known, places[chosen]])).amin(dim=1)
        if gaps.max() <= radius:
            break
        chosen.append(int(gaps.argmax()))
    return chosen


@pytest.mark.parametrize(("size", "radius"), [(40, 0.0), (500, 0.0), (500, 2.5), (30, 2.5)])
def test_from_known_centres_it_goes_on_to_a_number_or_a_radius(size: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(4)
    known, places = (
        torch.randn(50, 6, generator=generator),
        torch.randn(500, 6, generator=generator),
    )
    found = further_centres(places, known, size, radius)
    assert found.indices.tolist() == farther_than(places, known, size, radius)
    if radius and size == 500:
        assert 0 < len(found.indices) < 500
        assert found.radius <= radius


def test_distances_to_the_centres_of_each_part_are_told_apart() -> None:
    generator = torch.Generator().manual_seed(8)
    places, known = torch.randn(400, 6, generator=generator), torch.randn(9, 6, generator=generator)
    part = torch.randint(-1, 3, (400,), generator=generator)
    for found, before in (
        (k_centre(places, 50, 7, part), places[:0]),
        (further_centres(places, known, 50, part=part), known),
    ):
        for number in (0, 1, 2, -1):
            own = found.indices[part[found.indices] == number]
            centres = torch.cat([places[own], before]) if number == -1 else places[own]
            expected = torch.cdist(places, centres).square().amin(dim=1)
            expected[own] = -torch.inf
            torch.testing.assert_close(found.squared[number], expected, atol=1e-4, rtol=1e-4)


def test_places_that_known_centres_cover_bring_no_new_one() -> None:
    places = torch.eye(6).repeat(50, 1)
    assert len(further_centres(places, torch.eye(6), 10).indices) == 0
    assert len(further_centres(places + 0.1, torch.eye(6), 10, radius=0.3).indices) == 0


def test_many_equal_places_are_chosen_once_each() -> None:
    places = torch.eye(6).repeat(100, 1)
    chosen = k_centre(places, 6, first=1).indices
    assert sorted(places[chosen].argmax(dim=1).tolist()) == list(range(6))


def test_a_place_is_described_by_three_by_three_places_of_two_maps() -> None:
    fine, deep = torch.randn(2, 3, 4, 6), torch.randn(2, 5, 2, 3)
    (found,) = neighbourhoods([fine, deep])
    assert found.shape == (2, 8, 4, 6)
    for row, column in ((0, 0), (1, 2), (3, 5)):
        around = fine[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        torch.testing.assert_close(found[:, :3, row, column], around.sum(dim=(2, 3)) / 9)
    # A corner of the enlarged map is the corner of the small one.
    torch.testing.assert_close(found[:, 3:, 0, 0], deep[:, :, :2, :2].sum(dim=(2, 3)) / 9)


def filled(places: Tensor, size: int) -> PlaceMemory:
    memory = PlaceMemory(size, places.shape[1])
    memory.directions.copy_(at_right_angles(places.shape[1], memory.width, 0))
    memory.fill(numbered(memory.comparable(places)), seed=0)
    return memory


def numbered(values: Tensor, first: int = 0) -> Places:
    """Each place of a frame of its own."""
    number = first + torch.arange(len(values))
    return Places(values, torch.stack([number, 2 * number], dim=1))


def test_the_nearest_prototype_is_recalled() -> None:
    generator = torch.Generator().manual_seed(2)
    memory = filled(torch.randn(200, 7, generator=generator), 20)
    query = torch.randn(2, 3, 4, 7, generator=generator)
    deviation, recalled = memory.deviation(query), memory.recalled(query)
    for place in ((0, 0, 0), (1, 2, 3), (1, 0, 2)):
        gaps = [float((query[place] - p.float()).norm()) for p in memory.prototypes]
        assert int(recalled[place]) == min(range(20), key=gaps.__getitem__)
        assert float(deviation[place].norm()) == pytest.approx(min(gaps), rel=1e-5)


@pytest.mark.parametrize("channels", [7, 300])
def test_features_beyond_half_precision_stay_finite(channels: int) -> None:
    generator = torch.Generator().manual_seed(6)
    places = torch.randn(200, channels, generator=generator)
    places[:, 0] *= 1e6
    memory = filled(places, 20)
    deviation = memory.deviation(torch.cat([places, 10 * places]))
    assert memory.prototypes.isfinite().all() and deviation.isfinite().all()
    assert float(memory.radius) < torch.inf and deviation.norm(dim=1).max() > 0


def test_fewer_places_than_prototypes_are_repeated() -> None:
    memory = filled(torch.eye(3), 8)
    assert len(memory.prototypes.unique(dim=0)) == 3
    assert memory.deviation(torch.eye(3)).abs().max() == 0


def test_each_prototype_knows_its_place_and_all_places_have_one_near() -> None:
    places = torch.randn(200, 7, generator=torch.Generator().manual_seed(5))
    memory = filled(places, 20)
    compared = memory.comparable(places).half()
    assert torch.equal(compared[memory.origin[:, 0]], memory.prototypes)
    assert torch.equal(memory.origin[:, 1], 2 * memory.origin[:, 0])
    gaps = torch.cdist(compared.float(), memory.prototypes.float()).amin(dim=1)
    assert float(gaps.max()) == pytest.approx(float(memory.radius), rel=1e-4)


@pytest.mark.parametrize(("shift", "most"), [(0.0, 20), (1.0, 500), (9.0, 500), (9.0, 6)])
def test_only_places_that_no_prototype_is_near_join(shift: float, most: int) -> None:
    places = torch.randn(200, 7, generator=torch.Generator().manual_seed(5))
    memory = filled(places, 20)
    known, compared = memory.prototypes.float(), memory.comparable(places + shift).half()
    memory.add(numbered(compared, first=1000), most)
    new = farther_than(compared.float(), known, most, 1.001 * float(memory.radius))
    assert memory.origin[20:, 0].tolist() == [1000 + index for index in new]
    assert torch.equal(memory.prototypes[20:], compared[new])
    assert (len(new) == 0) == (shift == 0)


def test_distances_in_random_directions_are_nearly_those_in_all_channels() -> None:
    generator = torch.Generator().manual_seed(3)
    places = torch.randn(50, 432, generator=generator)
    directions = at_right_angles(432, 256, seed=1).float()
    torch.testing.assert_close(directions.T @ directions, torch.eye(256), atol=1e-5, rtol=0)
    true = torch.pdist(places) * (256 / 432) ** 0.5
    assert (torch.pdist(places @ directions) / true - 1).abs().max() < 0.15
