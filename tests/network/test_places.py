import numpy as np
import torch
from torch import Tensor

from anomem.network.places import UsualPlaces

SHAPES = [(4, 3, 2), (6, 1, 1)]


def maps(count: int, seed: int) -> list[Tensor]:
    """Deviation maps whose mean depends on the place."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for channels, height, width in SHAPES:
        noise = torch.randn(count, channels, height, width, generator=generator)
        mixed = torch.einsum("bchw,cd->bdhw", noise, torch.arange(channels**2.0).view(channels, -1))
        where = torch.arange(height * width, dtype=torch.float32).view(height, width)
        found.append(mixed + 5 * where)
    return found


def fitted() -> UsualPlaces:
    places = UsualPlaces(SHAPES)
    places.fit([[scale[:20] for scale in maps(30, 0)], [scale[20:] for scale in maps(30, 0)]])
    places.calibrate([maps(50, 1)])
    return places


def test_distance_is_that_of_the_place_in_the_spread_of_all_places() -> None:
    normals, given = maps(30, 0), maps(3, 2)
    found = fitted().distances(given)
    for scale, (channels, height, width) in enumerate(SHAPES):
        values, tested = normals[scale].double().numpy(), given[scale].double().numpy()
        spread = np.zeros((channels, channels))
        for image in values:
            for row in range(height):
                for column in range(width):
                    off = image[:, row, column] - values[:, :, row, column].mean(axis=0)
                    spread += np.outer(off, off) / (30 * height * width)
        spread += 0.01 * np.trace(spread) / channels * np.eye(channels)
        inverse = np.linalg.inv(spread)
        for image in range(3):
            for row in range(height):
                for column in range(width):
                    off = tested[image, :, row, column] - values[:, :, row, column].mean(axis=0)
                    expected = np.sqrt(off @ inverse @ off)
                    np.testing.assert_allclose(
                        found[scale][image, row, column], expected, rtol=1e-3
                    )


def test_heat_is_in_standard_deviations_of_unseen_normals() -> None:
    for heat in fitted()(maps(50, 1)):
        assert abs(float(heat.mean())) < 1e-5 and abs(float(heat.std()) - 1) < 1e-5
    shifted = [scale + 1000 for scale in maps(50, 1)]
    assert all(heat.min() > 3 for heat in fitted()(shifted))


def test_places_come_back_from_their_tensors() -> None:
    places = fitted()
    again = UsualPlaces.of(places.state_dict())
    for one, other in zip(places(maps(3, 2)), again(maps(3, 2)), strict=True):
        assert torch.equal(one, other)


def test_constant_normals_have_a_finite_heat() -> None:
    places = UsualPlaces([(4, 3, 2)])
    places.fit([[torch.ones(5, 4, 3, 2)]])
    places.calibrate([[torch.ones(5, 4, 3, 2)]])
    assert bool(torch.isfinite(places([torch.randn(2, 4, 3, 2)])[0]).all())
