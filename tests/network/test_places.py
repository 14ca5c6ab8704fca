import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem.network.places import PlaceMaps, UsualPlaces

Values = npt.NDArray[np.float64]

SHAPES = [(4, 3, 2), (6, 1, 2)]


def seen(count: int, seed: int, shift: float = 0.0) -> PlaceMaps:
    """Feature maps whose mean depends on the place, and the log-odds of a head."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for channels, height, width in SHAPES:
        noise = torch.randn(count, channels, height, width, generator=generator)
        mixed = torch.einsum("bchw,cd->bdhw", noise, torch.arange(channels**2.0).view(channels, -1))
        where = torch.arange(height * width, dtype=torch.float32).view(height, width)
        found.append(mixed + 5 * where + shift)
    return PlaceMaps(found, [torch.randn(count, 3, 2, generator=generator) + shift], [])


def parts(whole: PlaceMaps, at: int) -> list[PlaceMaps]:
    return [
        PlaceMaps([m[each] for m in whole.features], [m[each] for m in whole.odds], [])
        for each in (slice(0, at), slice(at, None))
    ]


def fitted(*, anywhere: bool = False) -> UsualPlaces:
    places = UsualPlaces([(c, 1, 1) if anywhere else (c, h, w) for c, h, w in SHAPES], 1)
    places.fit(parts(seen(30, 0), 20))
    places.calibrate(parts(seen(50, 1), 7))
    return places


def spread_of(values: Values) -> Values:
    """Covariance of samples (N, C), by a loop."""
    total = np.zeros((values.shape[1], values.shape[1]))
    for sample in values:
        total += np.outer(sample - values.mean(axis=0), sample - values.mean(axis=0)) / len(values)
    return total


@pytest.mark.parametrize("anywhere", [False, True])
def test_distance_is_that_of_the_place_in_its_spread(anywhere: bool) -> None:
    normals, given = seen(30, 0).features, seen(3, 2).features
    found = fitted(anywhere=anywhere).distances(given)
    for scale, (channels, height, width) in enumerate(SHAPES):
        values, tested = normals[scale].double().numpy(), given[scale].double().numpy()
        places = [(row, column) for row in range(height) for column in range(width)]
        samples = {place: values[:, :, place[0], place[1]] for place in places}
        if anywhere:
            samples = dict.fromkeys(places, np.concatenate(list(samples.values())))
        shared = np.mean([spread_of(each) for each in samples.values()], axis=0)
        ridge = 0.01 * np.trace(shared) / channels * np.eye(channels)
        for (row, column), sample in samples.items():
            inverse = np.linalg.inv(0.5 * spread_of(sample) + 0.5 * shared + ridge)
            for image in range(3):
                off = tested[image, :, row, column] - sample.mean(axis=0)
                distance = float(found[scale][image, row, column])
                # whitenings are kept in half precision
                np.testing.assert_allclose(distance, np.sqrt(off @ inverse @ off), rtol=2e-2)


def test_heat_is_in_standard_deviations_of_unseen_normals() -> None:
    maps = fitted()(seen(50, 1))
    assert [tuple(heat.shape) for heat in maps] == [(50, 3, 2), (50, 1, 2), (50, 3, 2)]
    for heat in maps:
        assert abs(float(heat.mean())) < 1e-5 and abs(float(heat.std()) - 1) < 1e-5
    assert all(heat.min() > 3 for heat in fitted()(seen(50, 1, shift=1000)))


@pytest.mark.parametrize("anywhere", [False, True])
def test_places_come_back_from_their_tensors(anywhere: bool) -> None:
    places = fitted(anywhere=anywhere)
    again = UsualPlaces.of(places.state_dict())
    for one, other in zip(places(seen(3, 2)), again(seen(3, 2)), strict=True):
        assert torch.equal(one, other)


def test_constant_normals_have_a_finite_heat() -> None:
    places = UsualPlaces([(4, 3, 2)], 0)
    constant = PlaceMaps([torch.ones(5, 4, 3, 2)], [], [])
    places.fit([constant])
    places.calibrate([constant])
    odd = PlaceMaps([torch.randn(2, 4, 3, 2)], [], [])
    assert bool(torch.isfinite(places(odd)[0]).all())
