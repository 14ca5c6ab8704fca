import numpy as np
import numpy.typing as npt
import pytest

from anomem.evaluation.pixels import pixel_metrics

Arrays = list[npt.NDArray[np.int64]]


@pytest.fixture(params=range(5))
def maps_and_masks(request: pytest.FixtureRequest) -> tuple[Arrays, Arrays]:
    """Three images of 6 x 7, heat with many ties, masks with several regions, one normal image."""
    rng = np.random.default_rng(request.param)
    masks = [(rng.random((6, 7)) < share).astype(int) for share in (0.3, 0.15, 0.0)]
    return [rng.integers(0, 6, (6, 7)) + 2 * mask for mask in masks], masks


def regions(mask: npt.NDArray[np.int64]) -> list[set[tuple[int, int]]]:
    """Pixels of each region, neighbours at corners too, by filling from every pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        region, border = set(), {left.pop()}
        while border:
            y, x = border.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            border |= near
            left -= near
        found.append(region)
    return found


def slow_curve(maps: Arrays, masks: Arrays) -> list[tuple[float, float]]:
    """Share of normal pixels, and mean share of each region, at every threshold from above."""
    levels = sorted({int(v) for heat in maps for v in heat.ravel()}, reverse=True)
    curve = [(0.0, 0.0)]
    for level in levels:
        normal = np.concatenate([h[m == 0] for h, m in zip(maps, masks, strict=True)])
        overlaps = [
            np.mean([heat[place] >= level for place in region])
            for heat, mask in zip(maps, masks, strict=True)
            for region in regions(mask)
        ]
        curve.append((float((normal >= level).mean()), float(np.mean(overlaps))))
    return curve


def slow_area(curve: list[tuple[float, float]], most: float) -> float:
    """By ten thousand thin slices."""
    x, y = zip(*curve, strict=True)
    places = (np.arange(10_000) + 0.5) / 10_000 * most
    return float(np.mean(np.interp(places, x, y)))


def test_metrics_are_their_definitions(maps_and_masks: tuple[Arrays, Arrays]) -> None:
    maps, masks = maps_and_masks
    heat, anomalous = (np.concatenate([m.ravel() for m in each]) for each in maps_and_masks)
    wins = [(a > n) + 0.5 * (a == n) for a in heat[anomalous == 1] for n in heat[anomalous == 0]]
    f1 = []
    for level in np.unique(heat):
        found = int(((heat >= level) & (anomalous == 1)).sum())
        f1.append(2 * found / ((heat >= level).sum() + anomalous.sum()))
    metrics = pixel_metrics(maps, masks)
    assert metrics["pixel_auroc"] == pytest.approx(np.mean(wins))
    assert metrics["pixel_f1_max"] == pytest.approx(max(f1))
    assert metrics["aupro"] == pytest.approx(slow_area(slow_curve(maps, masks), 0.3), abs=1e-4)


def test_a_perfect_map_has_it_all() -> None:
    mask = np.zeros((8, 8), int)
    mask[2:4, 2:4] = mask[6, 6] = 1
    assert pixel_metrics([mask * 1.0], [mask]) == {
        "pixel_auroc": 1.0,
        "aupro": 1.0,
        "pixel_f1_max": 1.0,
    }


def test_a_small_region_weighs_as_much_as_a_large_one() -> None:
    mask = np.zeros((10, 10), int)
    mask[:6] = mask[9, 9] = 1
    large = np.where(np.arange(10)[:, None] < 6, 1.0, 0.0) * np.ones(10)
    assert pixel_metrics([large], [mask])["aupro"] == pytest.approx(0.5 + 0.5 * 0.15, abs=1e-6)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match=r"heat map 0 is \(4, 4\) and its mask \(3, 4\)"):
        pixel_metrics([np.ones((4, 4))], [np.ones((3, 4))])
    with pytest.raises(ValueError, match="pixels of one kind"):
        pixel_metrics([np.ones((4, 4))], [np.zeros((4, 4))])
