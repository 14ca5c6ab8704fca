from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from anomem import AnoMem, Config
from anomem.config import FramingKind
from anomem.detector.heat_maps import heat_maps
from anomem.images.open import open_images

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """Parts of a photograph, each of its own size; a JPEG is read at a reduced size."""
    astronaut = data.astronaut()
    files = []
    for number, (rows, columns) in enumerate([(40, 70), (160, 136), (16, 16), (33, 20)]):
        part = Image.fromarray(astronaut[:rows, :columns])
        for suffix in ("png", "jpg"):
            files.append(tmp_path / f"{number}.{suffix}")
            part.save(files[-1])
    return files


def framed(config: Config, kind: FramingKind) -> Config:
    return replace(config, images=replace(config.images, framing=kind))


@pytest.mark.parametrize("kind", ["resize", "letterbox", "tile"])
@pytest.mark.parametrize("region", [None, "0,0 0.9,0 0.9,0.8 0,0.8"])
def test_maps_in_batches_are_those_of_the_images_alone(
    kind: FramingKind, region: str | None, hasty: Config, digits: Digits, photographs: list[Path]
) -> None:
    model = AnoMem(framed(hasty, kind), device="cpu").fit(digits["train"][:40], region=region)
    many = [*photographs, *photographs[::-1]]
    for image, heat in zip(many, model.heat_maps(many), strict=True):
        alone = model.explain(image).heat
        assert heat.dtype == np.float32 and heat.shape == alone.shape
        np.testing.assert_allclose(heat, alone, rtol=1e-4, atol=1e-4)


def test_more_images_than_a_batch_and_each_kind_of_normal(model: AnoMem, digits: Digits) -> None:
    model.extend(255 - digits["normal"][:40])
    images = np.concatenate([digits["train"], 255 - digits["normal"]])
    told: list[tuple[str, int, int]] = []
    heats = list(model.heat_maps(images, progress=lambda *each: told.append(each)))
    assert len(heats) == len(images) and told[-1] == ("heat maps", len(images), len(images))
    for index in (0, 63, 64, 150):
        alone = model.explain(images[index]).heat
        np.testing.assert_allclose(heats[index], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["resize", "tile"])
def test_what_cannot_be_read_costs_no_other_map(
    kind: FramingKind, hasty: Config, digits: Digits, photographs: list[Path], tmp_path: Path
) -> None:
    model = AnoMem(framed(hasty, kind), device="cpu").fit(digits["train"][:40])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    many = open_images([*photographs[:2], broken, *photographs[2:]])
    found = list(heat_maps(model.detector(), many))
    assert isinstance(found[2], str) and found[2].startswith(f"{broken}: not an image")
    sizes = [heat.shape for heat in found if not isinstance(heat, str)]
    assert sizes == [(40, 70)] * 2 + [(160, 136)] * 2 + [(16, 16)] * 2 + [(33, 20)] * 2
    with pytest.raises(ValueError, match=r"broken\.png: not an image"):
        list(model.heat_maps(many))
