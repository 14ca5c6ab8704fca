from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from anomem.evaluation.localisation import Localisation, localise

Heat = npt.NDArray[np.float32]


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


def high_is_hot(image: Path) -> Heat:
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


def test_an_anomaly_directly_in_the_folder_takes_no_map_of_a_kind(marked: Path) -> None:
    for folder in ("odd", "masks"):
        # Sorted before the folders "high" and "low"; its mask is not the square of either.
        Image.open(marked / "odd" / "low" / "1.png").save(marked / folder / "1.png")
    mask = np.asarray(Image.open(marked / "masks" / "low" / "1_mask.png"))
    Image.fromarray(mask).save(marked / "masks" / "1.png")
    by_kind = found(brightness, marked).by_kind
    assert set(by_kind) == {"high", "low"}
    assert by_kind["high"]["pixel_auroc"] == by_kind["low"]["pixel_auroc"] == 1.0


def test_a_mask_of_another_size_is_refused(marked: Path) -> None:
    Image.new("L", (8, 8)).save(marked / "masks" / "low" / "1_mask.png")
    with pytest.raises(ValueError, match="1_mask.png is 8 x 8 and its image 60 x 80; give a mask"):
        found(brightness, marked)
