"""The detector on images that are cut into tiles, letterboxed, or looked at in a region."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from anomem import AnoMem, Config
from anomem.config import FramingKind, ImageChoices
from anomem.detector.estimator import load_trained
from anomem.images.framing import Framing, boxes, cut

Pixels = npt.NDArray[np.uint8]

BRICK, GRAVEL = data.brick(), data.gravel()
NORMAL = np.stack([BRICK[i : i + 48, 3 * i : 3 * i + 80] for i in range(0, 120, 6)])
NEW = np.stack([BRICK[i : i + 48, i : i + 80] for i in range(200, 260, 10)])
MASK = np.zeros((48, 80), dtype=bool)
MASK[:, :40] = True


def spoilt(images: Pixels, left: int) -> Pixels:
    """The images with a piece of gravel."""
    changed = images.copy()
    changed[:, 20:36, left : left + 16] = GRAVEL[100:116, 100:116]
    return changed


def framed(config: Config, kind: FramingKind) -> Config:
    return replace(config, images=ImageChoices(size=(16, 16), framing=kind))


@pytest.fixture(scope="module")
def _tiled(hasty: Config) -> AnoMem:
    return AnoMem(framed(hasty, "tile"), device="cpu").fit(NORMAL)


@pytest.fixture
def tiled(_tiled: AnoMem) -> AnoMem:
    return copy.deepcopy(_tiled)


def tile_scores(model: AnoMem, image: Pixels) -> npt.NDArray[np.float32]:
    """Score of each tile of an image, given as images of their own."""
    tiles = [cut(image[..., None], box) for box in boxes(image.shape, model.framing_)]
    alone = copy.copy(model)
    alone.framing_ = Framing("resize", model.framing_.shape)
    return alone.decision_function(tiles)


def test_score_is_the_highest_of_the_tiles(tiled: AnoMem) -> None:
    mixed = [*NEW, BRICK[:16, :16], BRICK[:9, :90]]
    highest = [tile_scores(tiled, image).max() for image in mixed]
    np.testing.assert_allclose(tiled.decision_function(mixed), highest, rtol=1e-4, atol=1e-4)


def test_images_are_held_out_with_all_their_tiles(tiled: AnoMem) -> None:
    tiles = len(boxes((48, 80), tiled.framing_))
    assert tiled.summary_["held_out"] == len(tiled.calibration()) == 10
    assert len(tiled.bank_.held_out) == 10 * tiles
    assert tiled.summary_["normals"] == 10
    scores = np.sort(tiled.decision_function(NORMAL))
    for held in tiled.calibration().scores:
        assert np.abs(scores - held).min() < 1e-2  # pooled deviations are kept in half precision


def test_explanation_is_of_the_tile_with_the_score(tiled: AnoMem) -> None:
    image = spoilt(NEW[:1], 60)[0]
    explained = tiled.explain(image)
    scores = tile_scores(tiled, image)
    assert explained.score == pytest.approx(tiled.decision_function([image])[0], abs=1e-4)
    assert explained.frame == boxes((48, 80), tiled.framing_)[int(scores.argmax())]
    added = sum(float(places.sum()) for places in explained.attribution.values()) + explained.rest
    assert added == pytest.approx(explained.score, abs=1e-3)
    assert explained.heat.shape == (48, 80) and (explained.heat != 0).all()


def test_labels_go_to_the_tile_that_scores_highest(tiled: AnoMem, hasty: Config) -> None:
    odd = spoilt(NEW, 30)
    fitted = AnoMem(framed(hasty, "tile"), device="cpu").fit(NORMAL, anomalies=odd)
    adapted = tiled.adapt(odd, [1] * len(odd))
    for model in (fitted, adapted):
        assert model.bank_.labelled.label.tolist() == [1] * len(odd)
        assert int(model.bank_.learnt().sum()) == 0
    np.testing.assert_allclose(
        fitted.decision_function(NEW), adapted.decision_function(NEW), rtol=1e-4, atol=1e-4
    )
    before = len(adapted.calibration())
    adapted.adapt(NORMAL, [0] * len(NORMAL)).adapt(odd[:2], [-1, -1])
    assert adapted.bank_.labelled.label.tolist() == [1] * (len(odd) - 2) + [0] * len(NORMAL)
    assert before == len(adapted.calibration()) == 10


def test_encoder_learns_from_the_tiles_of_anomalies(tiled: AnoMem) -> None:
    odd = spoilt(NEW, 30)
    held_out = tiled.bank_.held_out_digest
    tiled.adapt(odd, [1] * len(odd), depth="encoder", normal=NORMAL)
    assert int(tiled.bank_.learnt().sum()) == len(odd)
    assert set(tiled.bank_.held_out_digest.tolist()) == set(held_out.tolist())
    assert len(tiled.calibration()) == 10


@pytest.mark.parametrize("kind", ["resize", "letterbox", "tile"])
def test_nothing_outside_of_the_region_counts(hasty: Config, kind: FramingKind) -> None:
    changed = NORMAL.copy()
    changed[:, :, 40:] = GRAVEL[:48, :40]
    one, two = (
        AnoMem(framed(hasty, kind), device="cpu").fit(images, region=MASK)
        for images in (NORMAL, changed)
    )
    assert one.threshold(0.2) == two.threshold(0.2)
    np.testing.assert_array_equal(
        one.decision_function(NEW), two.decision_function(spoilt(NEW, 50))
    )
    heat = one.explain(spoilt(NEW, 20)[0]).heat
    assert (heat[:, :40] != 0).all() and (heat[:, 40:] == 0).all()


def test_framing_and_region_are_saved(hasty: Config, tmp_path: Path) -> None:
    model = AnoMem(framed(hasty, "letterbox"), device="cpu").fit(NORMAL, region=MASK)
    model.save(tmp_path / "model")
    loaded = load_trained(tmp_path / "model", device="cpu")
    assert loaded.framing_.kind == "letterbox" and loaded.framing_.region is not None
    np.testing.assert_array_equal(loaded.framing_.region, MASK)
    np.testing.assert_array_equal(loaded.decision_function(NEW), model.decision_function(NEW))


def test_unreadable_images_do_not_stop_the_others(tiled: AnoMem, tmp_path: Path) -> None:
    for index, image in enumerate(NEW):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"")
    found = tiled.score_images(tmp_path)
    assert list(found.errors) == [3] and np.isnan(found.score[3])
    kept = [0, 1, 2, 4, 5]
    np.testing.assert_allclose(found.score[kept], tiled.decision_function(NEW[kept]), rtol=1e-5)


def test_tiles_need_a_size() -> None:
    with pytest.raises(ValueError, match="size is None; it must be given, as tiles have no other"):
        ImageChoices(framing="tile")


def test_large_images_are_measured_in_parts(tiled: AnoMem, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiled.decision_function(NEW)
    monkeypatch.setattr("anomem.model.features._PIXELS", 3 * 16 * 16)
    np.testing.assert_allclose(tiled.decision_function(NEW), whole, rtol=1e-4, atol=1e-4)
