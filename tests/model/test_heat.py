import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem.config.presets import resolve
from anomem.model.heat import HeatModel, PlaceMaps, most_unusual, new_heat
from anomem.model.network import MultiScaleMemory

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


def fitted(*, anywhere: bool = False) -> HeatModel:
    model = HeatModel([(c, 1, 1) if anywhere else (c, h, w) for c, h, w in SHAPES], 1)
    model.fit(parts(seen(30, 0), 20))
    model.calibrate(parts(seen(50, 1), 7))
    return model


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
    model = fitted(anywhere=anywhere)
    again = HeatModel.of(model.state_dict())
    for one, other in zip(model(seen(3, 2)), again(seen(3, 2)), strict=True):
        assert torch.equal(one, other)


def wide(count: int, seed: int) -> PlaceMaps:
    """Maps of 300 channels, of which one place is as noisy as ten others."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, 300, 2, 1, generator=generator) * torch.tensor([1.0, 10.0])[:, None]
    return PlaceMaps([maps, maps[:, :5]], [], [])


def test_every_channel_of_a_wide_map_shows() -> None:
    model = HeatModel([(300, 2, 1), (5, 2, 1)], 0)
    model.fit([wide(1000, 0)])
    one_each = (1000 * torch.eye(300))[..., None, None].expand(-1, -1, 2, 1)
    odd, usual = (model.distances([maps, maps[:, :5]])[0] for maps in (one_each, 0 * one_each))
    # Of the square of a change, 64 of 300 parts lie in 64 of 300 directions on average.
    share = (odd[:, 0, 0] / odd[:, 0, 0].square().mean().sqrt()).square()
    assert float(share.min()) > 0.4 and float(share.max()) < 1.8
    assert float(usual.max()) < 0.01 * float(odd.min())
    assert float((odd[:, 0, 0] / odd[:, 1, 0]).min()) > 1.2


def test_wide_places_come_back_and_are_the_same_in_every_model() -> None:
    first, second = (HeatModel([(300, 2, 1), (5, 2, 1)], 0) for _ in range(2))
    for model in (first, second):
        model.fit([wide(50, 0)])
        model.calibrate([wide(20, 1)])
    again = HeatModel.of(first.state_dict())
    for one, other, third in zip(*(p(wide(3, 2)) for p in (first, second, again)), strict=True):
        assert torch.equal(one, other) and torch.equal(one, third)


@pytest.mark.parametrize(
    ("preset", "mebibytes"), [("scratch", 0.6), ("pretrained", 2.3), ("paper", 6)]
)
def test_places_of_a_preset_take_so_much_of_a_model(preset: str, mebibytes: float) -> None:
    """At 64 x 64 pixels (pretrained: 224 x 224); without a bound those of paper took 1 GiB."""
    config = resolve(preset)
    side = config.images.size or 64
    assert isinstance(side, int)
    with torch.device("meta"):
        network = MultiScaleMemory(config, initialise=False).eval()
        maps = network.encoder.every_map(torch.empty(1, 3, side, side))
        model = new_heat(maps[:2], len(network.patch_heads), anywhere=False)
    size = sum(tensor.nbytes for tensor in model.state_dict().values()) / 2**20
    assert 0.8 * mebibytes < size < mebibytes


def test_the_ten_most_unusual_places_are_those_of_the_nearest_kind() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = [HeatModel([(4, 5, 4)], 0), HeatModel([(4, 1, 1)], 0)]
    for kind in kinds:
        normals = PlaceMaps([torch.randn(60, 4, 5, 4, generator=generator)], [], [])
        kind.fit([normals])
        kind.calibrate([normals])
    images = torch.randn(6, 4, 5, 4, generator=generator) * 3
    values, positions = most_unusual(kinds, images)
    for b in range(6):
        rated = [kind(PlaceMaps([images[b : b + 1]], [], []))[0].flatten() for kind in kinds]
        most = [sorted(enumerate(each.tolist()), key=lambda at: -at[1])[:10] for each in rated]
        nearest = min(most, key=lambda places: sum(value for _, value in places))
        assert positions[b].tolist() == [place for place, _ in nearest]
        assert values[b].tolist() == pytest.approx([value for _, value in nearest], abs=1e-4)


def test_constant_normals_have_a_finite_heat() -> None:
    model = HeatModel([(4, 3, 2)], 0)
    constant = PlaceMaps([torch.ones(5, 4, 3, 2)], [], [])
    model.fit([constant])
    model.calibrate([constant])
    odd = PlaceMaps([torch.randn(2, 4, 3, 2)], [], [])
    assert bool(torch.isfinite(model(odd)[0]).all())
