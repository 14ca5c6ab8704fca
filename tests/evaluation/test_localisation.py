import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from anomem.evaluation.localisation import Localisation, localise, pixel_metrics

Heat = npt.NDArray[np.float32]
Arrays = list[npt.NDArray[np.int64]]


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Two kinds of anomaly, each a bright square of its own corner, 60 x 80, and their masks."""
    for kind, corner in (("low", (40, 60)), ("high", (0, 0))):
        pixels = np.full((60, 80), 50, np.uint8)
        pixels[corner[0] : corner[0] + 20, corner[1] : corner[1] + 20] = 250
        (tmp_path / "odd" / kind).mkdir(parents=True)
        (tmp_path / "masks" / kind).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "odd" / kind / "1.png")
        Image.fromarray((pixels > 99).astype(np.uint8) * 255).save(
            tmp_path / "masks" / kind / "1_mask.png"
        )
    (tmp_path / "good").mkdir()
    Image.fromarray(np.full((60, 80), 50, np.uint8)).save(tmp_path / "good" / "1.png")
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def brightness(image: Path) -> Heat:
    return np.asarray(Image.open(image), dtype=np.float32)


def high_is_hot(_: Path) -> Heat:
    """The same for every image."""
    return np.repeat(np.linspace(1, 0, 60, dtype=np.float32)[:, None], 80, axis=1)


def found(heat_of: Callable[[Path], Heat], marked: Path, below: str = "") -> Localisation:
    """What is measured of a map of each image, the anomalies being below a folder."""
    folder = marked / "odd" / below
    normal, anomalous = files(marked / "good"), files(folder)
    heats = map(heat_of, [*normal, *anomalous])
    return localise(heats, len(normal), anomalous, folder, files(marked / "masks" / below))


def test_a_map_that_looks_beats_the_mean_map_and_one_that_does_not_is_it(marked: Path) -> None:
    seen = found(brightness, marked)
    assert set(seen.all.values()) == {1.0}
    assert seen.mean_map["pixel_auroc"] == pytest.approx(0.5)
    blind = found(high_is_hot, marked)
    assert blind.all["pixel_auroc"] == pytest.approx(blind.mean_map["pixel_auroc"], abs=0.02)
    assert blind.by_kind["high"]["pixel_auroc"] > 0.8
    assert blind.by_kind["low"]["pixel_auroc"] < 0.2


def test_large_maps_are_measured_at_256_pixels(marked: Path) -> None:
    for file in files(marked):
        with Image.open(file) as image:
            image.resize((800, 600), Image.Resampling.NEAREST).save(file)
    assert found(brightness, marked).all["pixel_auroc"] > 0.999


def test_without_folders_there_are_no_kinds(marked: Path) -> None:
    low = found(brightness, marked, "low")
    assert low.by_kind == {} and low.all["aupro"] == 1.0


def test_an_anomaly_beside_the_folders_is_of_no_kind(marked: Path) -> None:
    # Sorted before the folders, so that a kind that counted it would be measured on other images.
    for kind, folder, name in (("low", "odd", "1.png"), ("low", "masks", "1_mask.png")):
        shutil.copy(marked / folder / kind / name, marked / folder / "1.png")

    def upside_down_if_low(image: Path) -> Heat:
        return brightness(image) * (-1 if image.parent.name == "low" else 1)

    seen = found(upside_down_if_low, marked)
    assert set(seen.by_kind) == {"high", "low"}
    assert seen.by_kind["high"]["pixel_auroc"] == 1.0
    assert seen.by_kind["low"]["pixel_auroc"] == 0.0
    assert seen.all["pixel_auroc"] == pytest.approx(2 / 3), "the third is of no kind, and counts"


def test_a_mask_of_another_size_is_refused(marked: Path) -> None:
    Image.new("L", (8, 8)).save(marked / "masks" / "low" / "1_mask.png")
    with pytest.raises(
        ValueError, match=r"1_mask\.png is 8 x 8 and its image 60 x 80; give a mask"
    ):
        found(brightness, marked)


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
            np.mean([heat[pixel] >= level for pixel in region])
            for heat, mask in zip(maps, masks, strict=True)
            for region in regions(mask)
        ]
        curve.append((float((normal >= level).mean()), float(np.mean(overlaps))))
    return curve


def slow_area(curve: list[tuple[float, float]], most: float) -> float:
    """By ten thousand thin slices."""
    x, y = zip(*curve, strict=True)
    levels = (np.arange(10_000) + 0.5) / 10_000 * most
    return float(np.mean(np.interp(levels, x, y)))


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
