"""What labels do to a detector, and how they are taken back."""

import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from anomem import AnoMem, Config, load
from anomem.config import EncoderChoices, MemoryChoices, ScoreChoices
from anomem.config.presets import pretrained, scratch
from anomem.detector.score import score_features
from anomem.evaluation.metrics import auroc

Digits = dict[str, npt.NDArray[np.uint8]]
TILES = Path(__file__).parents[3] / "shared" / "data" / "magnetic_tile"


def weights(model: AnoMem) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.network_.state_dict().items()}


def same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_two_adapts_are_one_with_all_labels(model: AnoMem, digits: Digits) -> None:
    labelled, rest = digits["anomalous"][:6], digits["anomalous"][6:]
    at_once = copy.deepcopy(model).adapt(labelled, [1, 1, 0, 1, 1, 0])
    model.adapt(labelled[:2], [1, 1]).adapt(labelled[2:], [0, 1, 1, 0])
    np.testing.assert_array_equal(model.decision_function(rest), at_once.decision_function(rest))
    assert model.bank_.labelled.label.tolist() == [1, 1, 0, 1, 1, 0]


def test_labels_taken_back_leave_the_one_class_detector(model: AnoMem, digits: Digits) -> None:
    one_class = model.decision_function(digits["anomalous"])
    threshold = model.threshold(0.1)
    model.adapt(digits["anomalous"][:5], [1, 1, 1, 0, 0])
    assert not np.allclose(model.decision_function(digits["anomalous"]), one_class)
    model.adapt(digits["anomalous"][:2], [-1, -1])
    assert len(model.bank_.labelled) == 3
    model.forget(digits["anomalous"])
    np.testing.assert_array_equal(model.decision_function(digits["anomalous"]), one_class)
    assert model.threshold(0.1) == threshold


def test_a_label_given_again_replaces_the_older(model: AnoMem, digits: Digits) -> None:
    once = copy.deepcopy(model).adapt(digits["anomalous"][:3], [1, 1, 0])
    model.adapt(digits["anomalous"][:3], [0, 1, 1]).adapt(digits["anomalous"][:3], [1, 1, 0])
    np.testing.assert_array_equal(
        model.decision_function(digits["normal"]), once.decision_function(digits["normal"])
    )


@pytest.fixture(scope="module")
def _told(tiny: Config, digits: Digits) -> AnoMem:
    config = replace(tiny, loss=replace(tiny.loss, kind_weight=0.5))
    return AnoMem(config, device="cpu").fit(digits["train"], anomalies=digits["anomalous"][:60])


@pytest.fixture
def told(_told: AnoMem) -> AnoMem:
    """A detector whose fit was told of sixty anomalies."""
    return copy.deepcopy(_told)


def test_labels_of_the_fit_speak_through_stage_1(told: AnoMem, digits: Digits) -> None:
    """The evidence of its heads is in the score, and alone tells further anomalies from normals."""
    assert int(told.scorer_.learnt) == int(told.bank_.learnt().sum()) == 60
    further = (digits["normal"], digits["anomalous"][60:])
    scores = [told.decision_function(images) for images in further]
    told.scorer_.labels.zero_()
    without = [told.decision_function(images) for images in further]
    assert auroc(scores[0] - without[0], scores[1] - without[1]) > 0.95
    assert all((told >= one_class).all() for told, one_class in zip(scores, without, strict=True))


def test_labels_that_replace_those_of_the_fit_count(told: AnoMem, digits: Digits) -> None:
    """Ten others in place of those of the fit say what ten say, and those of the fit nothing."""
    first, second = digits["anomalous"][:60], digits["anomalous"][60:70]
    told.adapt(first[:1], [-1])
    assert len(told.bank_.labelled) == 59
    told.adapt(first[1:], [-1] * 59)
    before = told.decision_function(second)
    told.adapt(second, [1] * 10)
    assert (int(told.scorer_.labels), int(told.scorer_.learnt)) == (10, 0)
    assert (told.decision_function(second) > before).all()


def test_adapting_needs_no_earlier_image(model: AnoMem, digits: Digits, tmp_path: Path) -> None:
    rest = digits["anomalous"][6:]
    model.adapt(digits["anomalous"][:3], [1, 1, 1]).save(tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu").adapt(digits["anomalous"][3:6], [1, 1, 1])
    model.adapt(digits["anomalous"][3:6], [1, 1, 1])
    np.testing.assert_array_equal(loaded.decision_function(rest), model.decision_function(rest))


def test_heads_leave_encoder_and_memories_alone(model: AnoMem, digits: Digits) -> None:
    before = weights(model)
    model.adapt(digits["anomalous"][:5], [1] * 5)
    assert same_weights(before, weights(model))


def test_encoder_depth_trains_the_encoder_and_keeps_normals_held_out(
    model: AnoMem, digits: Digits
) -> None:
    before, held_out = weights(model), model.bank_.held_out_digest
    normals = np.concatenate([digits["normal"], digits["train"]])
    model.adapt(digits["anomalous"][:10], [1] * 10, depth="encoder", normal=normals)
    after = weights(model)
    for part in ("encoder.backbone.conv1", "memories.0", "memories.1"):
        names = [name for name in before if name.startswith(part)]
        assert names and not any(torch.equal(before[name], after[name]) for name in names)
    assert set(model.bank_.held_out_digest.tolist()) == set(held_out.tolist())
    assert model.bank_.labelled.label.tolist() == [1] * 10
    normal = model.decision_function(digits["normal"])
    assert auroc(normal, model.decision_function(digits["anomalous"][10:])) > 0.9


def test_encoder_depth_wants_all_that_was_labelled(model: AnoMem, digits: Digits) -> None:
    model.adapt(digits["anomalous"][:5], [1] * 5)
    one_class = model.decision_function(digits["normal"])
    with pytest.raises(ValueError, match="3 anomalies labelled earlier are missing"):
        model.adapt(digits["anomalous"][:2], [1, 1], depth="encoder", normal=digits["train"])
    with pytest.raises(ValueError, match="give them as normal,"):
        model.adapt(digits["anomalous"][:5], [1] * 5, depth="encoder")
    np.testing.assert_array_equal(model.decision_function(digits["normal"]), one_class)


@pytest.fixture
def photographs(digits: Digits, tmp_path: Path) -> list[Path]:
    """Twelve JPEG files, large enough to be decoded at a reduced size."""
    files = []
    for index, image in enumerate(digits["anomalous"][:12]):
        files.append(tmp_path / f"{index:02}.jpg")
        noise = np.random.default_rng(index).integers(0, 9, (160, 160))
        large = np.kron(image, np.ones((10, 10), int)) + noise
        Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def pixels_of(files: list[Path]) -> npt.NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(file)) for file in files])


def test_a_label_is_taken_back_however_the_image_is_given(
    model: AnoMem, photographs: list[Path], tmp_path: Path
) -> None:
    array, pillow = pixels_of(photographs), [Image.open(file) for file in photographs]
    assert model.framing_.reduced and not np.array_equal(
        model.decision_function(photographs), model.decision_function(array)
    )
    for given, other in ((photographs, array), (array, photographs), (photographs, pillow)):
        adapted = copy.deepcopy(model).adapt(given, [1] * 12)
        assert adapted.adapt(other[:4], [-1] * 4).bank_.labelled.label.tolist() == [1] * 8
        assert adapted.adapt(other[4:6], [0, 0]).bank_.labelled.label.tolist() == [1] * 6 + [
            0,
            0,
        ]
        adapted.save(tmp_path / "model")
        assert len(load(tmp_path / "model").forget(other).bank_.labelled) == 0


def test_labels_of_the_fit_are_taken_back_by_pixels(
    hasty: Config, digits: Digits, photographs: list[Path]
) -> None:
    fitted = AnoMem(hasty, device="cpu").fit(digits["train"][:40], anomalies=photographs)
    assert len(fitted.forget(pixels_of(photographs)[:5]).bank_.labelled) == 7


def test_one_image_under_two_labels_is_refused(
    model: AnoMem, digits: Digits, photographs: list[Path]
) -> None:
    copied = photographs[0].with_name("copy.jpg")
    copied.write_bytes(photographs[0].read_bytes())
    with pytest.raises(ValueError, match=r"00.jpg and .*copy.jpg are the same image, labelled 1"):
        model.adapt([*photographs, copied], [1] * 12 + [0])
    with pytest.raises(ValueError, match=r"image 3 and image 5 are the same image, labelled 1 and"):
        model.adapt(digits["anomalous"][[0, 1, 2, 3, 4, 3]], [1, 1, 0, 1, 1, 0])
    assert len(model.bank_.labelled) == 0
    model.adapt(digits["anomalous"][[3, 4, 3]], [1, 1, 1])
    assert model.bank_.labelled.label.tolist() == [1, 1]
    normals = np.concatenate([digits["train"], digits["anomalous"][3:4]])
    with pytest.raises(
        ValueError, match=r"1 of the 121 normals are among the images labelled anom"
    ):
        model.adapt(digits["anomalous"][3:5], [1, 1], depth="encoder", normal=normals)


def test_labels_of_scikit_learn_are_refused(model: AnoMem, digits: Digits) -> None:
    images = np.concatenate([digits["normal"][:5], digits["anomalous"][:3]])
    told = (
        r"3 of 8 images are labelled -1 and were never labelled, as image 5; .*0 is normal, 1 ano"
    )
    with pytest.raises(ValueError, match=told):
        model.adapt(images, [1] * 5 + [-1] * 3)
    assert len(model.bank_.labelled) == 0


def test_encoder_depth_refuses_a_model_that_was_extended(model: AnoMem, digits: Digits) -> None:
    """Its kinds would be forgotten."""
    model.extend(255 - digits["normal"][:40])
    kinds = len(model.heat_)
    with pytest.raises(ValueError, match="1 further kind of normal"):
        model.adapt(digits["anomalous"][:5], [1] * 5, depth="encoder", normal=digits["train"])
    assert len(model.heat_) == kinds


@pytest.mark.parametrize(
    ("y", "depth", "message"),
    [([1], "heads", "shape"), ([1, 2], "heads", "y holds 2"), ([1, 1], "head", "depth is 'head'")],
)
def test_wrong_labels_and_depths_are_refused(
    y: list[int], depth: Any, message: str, model: AnoMem, digits: Digits
) -> None:
    with pytest.raises(ValueError, match=message):
        model.adapt(digits["anomalous"][:2], y, depth=depth)


def gains(
    model: AnoMem, normal: npt.NDArray[Any], anomalous: npt.NDArray[Any], labels: int, draws: int
) -> list[float]:
    """What adapting adds to the AUROC on the images not labelled, for each draw of labels."""
    scores, one_class = model.decision_function(normal), model.decision_function(anomalous)
    differences = []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(anomalous))
        drawn, rest = order[:labels], order[labels:]
        adapted = copy.deepcopy(model).adapt(anomalous[drawn], [1] * labels)
        after = auroc(adapted.decision_function(normal), adapted.decision_function(anomalous[rest]))
        differences.append(after - auroc(scores, one_class[rest]))
    return differences


@pytest.fixture(scope="module")
def hurried(hasty: Config, digits: Digits) -> AnoMem:
    """A detector that leaves much for labels to say: its AUROC is 0.72."""
    config = replace(hasty, score=ScoreChoices(mahalanobis=True))
    return AnoMem(config, device="cpu").fit(digits["train"])


@pytest.fixture(scope="module")
def untrained(hasty: Config, digits: Digits) -> AnoMem:
    """Memories of places under a random encoder: the AUROC is 0.98."""
    config = replace(
        hasty,
        encoder=EncoderChoices(width=8, stem_stride=1, frozen=True),
        memory=MemoryChoices(prototypes="places", sizes=(32, 16)),
        stage2=pretrained().stage2,
    )
    return AnoMem(config, device="cpu").fit(digits["train"])


@pytest.mark.parametrize("labels", [1, 10])
def test_labels_serve_memories_of_places_and_no_draw_costs(
    labels: int, untrained: AnoMem, digits: Digits
) -> None:
    gain = gains(untrained, digits["normal"], digits["anomalous"], labels, draws=4)
    assert np.mean(gain) > 0.003 and min(gain) > -0.002


@pytest.mark.parametrize(("labels", "least"), [(1, 0.003), (10, 0.02)])
def test_every_draw_of_labels_makes_it_better(
    labels: int, least: float, hurried: AnoMem, digits: Digits
) -> None:
    assert min(gains(hurried, digits["normal"], digits["anomalous"], labels, draws=4)) > least


@pytest.mark.parametrize("detector", ["model", "untrained"])
def test_labelled_anomalies_lower_no_score(
    detector: str, digits: Digits, request: pytest.FixtureRequest
) -> None:
    """Of images of all kinds, also those unlike the labelled ones, and of the normals."""
    before: AnoMem = request.getfixturevalue(detector)
    images = np.concatenate([digits["normal"], digits["anomalous"]])
    after = copy.deepcopy(before).adapt(digits["anomalous"][:5], [1] * 5)
    assert (after.decision_function(images) >= before.decision_function(images) - 1e-6).all()


@pytest.mark.parametrize("labels", [1, 10])
def test_labels_of_one_kind_do_not_hide_the_others(
    labels: int, model: AnoMem, digits: Digits
) -> None:
    """Only the first images are labelled, all alike but for noise; other digits are scored."""
    rng = np.random.default_rng(0)
    one = np.repeat(digits["anomalous"][:1].astype(int), labels, axis=0)
    alike = np.clip(one + rng.integers(-20, 21, one.shape), 0, 255).astype(np.uint8)
    others = digits["anomalous"][1:]
    before = auroc(model.decision_function(digits["normal"]), model.decision_function(others))
    model.adapt(alike, [1] * labels)
    after = auroc(model.decision_function(digits["normal"]), model.decision_function(others))
    assert after >= before - 0.01


def test_normals_of_a_new_look_are_normal_once_some_are_labelled(
    model: AnoMem, digits: Digits
) -> None:
    """Pale zeros are false alarms; half of them labelled, the others are none any more."""
    pale = digits["normal"] // 2 + 100
    labelled, others = pale[::2], pale[1::2]
    usual, odd = digits["normal"], digits["anomalous"]
    before = auroc(model.decision_function(usual), model.decision_function(odd))
    assert model.predict(others).mean() > 0.9
    model.adapt(labelled, [0] * len(labelled))
    assert model.predict(others).mean() < 0.1
    assert auroc(model.decision_function(usual), model.decision_function(odd)) > before - 0.01


def test_false_alarms_labelled_normal_fall_below_the_threshold(
    model: AnoMem, digits: Digits
) -> None:
    threshold = model.threshold(0.1)
    scores = model.decision_function(digits["normal"])
    alarms = digits["normal"][np.argsort(-scores)[:5]]
    before = model.decision_function(alarms)
    rest = auroc(np.sort(scores)[:-5], model.decision_function(digits["anomalous"]))
    assert (before > threshold).any()
    model.adapt(alarms, [0] * 5)
    after = model.decision_function(alarms)
    assert (after < before).all() and (after <= model.threshold(0.1)).all()
    others = np.sort(model.decision_function(digits["normal"]))[:-5]
    assert auroc(others, model.decision_function(digits["anomalous"])) > rest - 0.003


def test_any_labelling_of_the_training_images_leaves_a_model_that_decides(
    model: AnoMem, digits: Digits
) -> None:
    """Held-out normals labelled normal stay in the calibration, as if they had not been."""
    before = model.calibration()
    model.adapt(digits["train"], [0] * len(digits["train"]))
    after = model.calibration()
    assert len(after) == len(before) == model.summary_["held_out"]
    assert model.summary_["labelled_normals"] == len(digits["train"])
    held_out = score_features(model.scorer_, model.bank_.held_out).numpy()
    assert after.scores.mean() > held_out.mean()
    assert (model.predict(digits["normal"], 0.1) == 0).mean() > 0.8
    with pytest.raises(ValueError, match="held-out normals would be labelled anomalous"):
        model.adapt(digits["train"], [1] * len(digits["train"]))
    assert model.summary_["labelled_anomalies"] == 0


def test_one_anomaly_among_many_labelled_normals_does_not_make_it_worse(
    model: AnoMem, digits: Digits
) -> None:
    new, rest = digits["normal"][:40], digits["normal"][40:]
    before = auroc(model.decision_function(rest), model.decision_function(digits["anomalous"][1:]))
    model.adapt(np.concatenate([new, digits["anomalous"][:1]]), [0] * 40 + [1])
    after = auroc(model.decision_function(rest), model.decision_function(digits["anomalous"][1:]))
    assert after >= before - 0.005


@pytest.fixture(scope="module")
def tiles() -> tuple[AnoMem, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A detector fitted on good magnetic tiles, further good ones, and defects of all kinds."""
    if not TILES.is_dir():
        pytest.skip("the magnetic tiles (Huang et al. 2018) are not beside the project")
    config = scratch()
    config = replace(config, stage1=replace(config.stage1, min_steps=150, max_steps=150))
    kinds = ("blowhole", "break", "crack", "fray", "uneven")
    defects = np.concatenate([squares(TILES / "test" / kind) for kind in kinds])
    with warnings.catch_warnings(action="ignore"):  # one tile is there at several exposures
        model = AnoMem(config, device="cpu").fit(squares(TILES / "train" / "good"))
    return model, squares(TILES / "test" / "good"), defects


def squares(folder: Path) -> npt.NDArray[np.uint8]:
    files = sorted(folder.iterdir())
    return np.stack([np.asarray(Image.open(f).convert("L").resize((64, 64))) for f in files])


@pytest.mark.slow
@pytest.mark.parametrize("labels", [1, 5, 10])
def test_labels_cost_no_hundredth_on_magnetic_tiles(
    labels: int, tiles: tuple[AnoMem, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
) -> None:
    """Defects of five kinds after 150 steps: what labels add is within a hundredth of nothing."""
    gain = gains(*tiles, labels, draws=4)
    assert np.mean(gain) > -0.005 and min(gain) > -0.01
