import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from anomem import AnoMem

Digits = dict[str, npt.NDArray[np.uint8]]


def test_maps_and_scores_agree(model: AnoMem, digits: Digits) -> None:
    """The score of a scale is the root mean square of its map, but for its enlargement."""
    explained = model.explain(digits["normal"][0])
    scores = model.score_images(digits["normal"][:1]).scale_scores[0]
    np.testing.assert_allclose(list(explained.scale_scores.values()), scores, rtol=1e-5)
    for name, norms in explained.maps.items():
        root_mean_square = np.sqrt((norms**2).mean())
        assert root_mean_square == pytest.approx(explained.scale_scores[name], rel=0.02)


def test_heat_of_normals_is_about_zero_with_a_spread_of_about_one(
    model: AnoMem, digits: Digits
) -> None:
    heat = np.stack([model.explain(image).heat for image in digits["normal"][:40]])
    assert abs(heat.mean()) < 0.5 and 0.5 < heat.std() < 1.5
    odd = np.stack([model.explain(image).heat for image in digits["anomalous"][:40]])
    assert odd.mean() > heat.mean() + 1


def test_heat_is_of_the_nearest_kind_of_normal(model: AnoMem, digits: Digits) -> None:
    negatives = 255 - digits["normal"]
    one = model.explain(negatives[50]).heat
    kept = model.explain(digits["normal"][0]).heat
    model.extend(negatives[:40])
    assert model.explain(negatives[50]).heat.mean() < one.mean() - 1
    assert (model.explain(digits["normal"][0]).heat <= kept + 1e-5).all()


def test_heat_shows_where_the_defect_is(model: AnoMem, digits: Digits) -> None:
    """A patch of a photograph in the left half of zeros heats the left half."""
    spoilt = digits["normal"][:20].copy()
    spoilt[:, 5:11, 0:6] = data.brick()[:6, :6]
    for heat in model.heat_maps(spoilt):
        assert heat[:, :8].mean() > heat[:, 8:].mean()


def test_shares_of_all_places_add_up_to_the_score(model: AnoMem, digits: Digits) -> None:
    for image in digits["anomalous"][:3]:
        explained = model.explain(image)
        added = (
            sum(float(places.sum()) for places in explained.attribution.values()) + explained.rest
        )
        assert added == pytest.approx(explained.score, abs=1e-4)
        assert [places.shape for places in explained.attribution.values()] == [(4, 4), (2, 2)]


def test_recalled_are_the_most_alike_prototypes(model: AnoMem, digits: Digits) -> None:
    explained = model.explain(digits["normal"][0])
    for (name, recalled), memory in zip(
        explained.recalled.items(), model.network_.scale_memories(), strict=True
    ):
        assert recalled.shape == explained.attribution[name].shape
        assert recalled.min() >= 0 and recalled.max() < len(memory.prototypes)


def test_colour_images_are_explained_by_a_grey_model(model: AnoMem) -> None:
    astronaut = data.astronaut()[:50, :70]
    explained = model.explain(astronaut)
    assert explained.heat.shape == (50, 70)
    assert explained.score == pytest.approx(model.decision_function([astronaut])[0], abs=1e-5)


def test_labels_change_the_score_and_not_the_maps(model: AnoMem, digits: Digits) -> None:
    image = digits["anomalous"][0]
    before = model.explain(image)
    after = model.adapt(digits["anomalous"][1:6], [1] * 5).explain(image)
    assert after.score != before.score
    np.testing.assert_array_equal(after.heat, before.heat)


def test_one_image_at_a_time(model: AnoMem) -> None:
    picture = Image.new("L", (16, 16))
    with pytest.raises(TypeError, match="list is of type list"):
        model.explain([picture, picture])


def test_folders_of_several_images_are_refused(model: AnoMem, folders: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="holds 58 images; explain one at a time"):
        model.explain(folders["normal"])
