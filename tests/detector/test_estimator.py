from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage import data
from sklearn.exceptions import NotFittedError
from torch.utils.data import Dataset

from anomem import AnoMem, Config
from anomem.config import ComputeChoices
from anomem.config.presets import scratch
from anomem.detector.estimator import load_trained
from anomem.detector.identity import digests
from anomem.evaluation.metrics import auroc
from anomem.images.image_set import tensor_of
from anomem.images.resize import ImageShape, batch_to_shape

Digits = dict[str, npt.NDArray[np.uint8]]


def test_nothing_works_before_fit(digits: Digits, tmp_path: Path) -> None:
    model = AnoMem()
    for call in (
        lambda: model.decision_function(digits["normal"]),
        lambda: model.predict(digits["normal"]),
        lambda: model.explain(digits["normal"][0]),
        lambda: model.adapt(digits["normal"][:1], [1]),
        lambda: model.save(tmp_path / "model"),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_scores_are_float32_and_higher_for_anomalies(model: AnoMem, digits: Digits) -> None:
    normal = model.decision_function(digits["normal"])
    anomalous = model.decision_function(digits["anomalous"])
    assert normal.dtype == np.float32 and normal.shape == (len(digits["normal"]),)
    assert auroc(normal, anomalous) > 0.9


def test_same_seed_same_scores(hasty: Config, digits: Digits) -> None:
    first, again, other = (
        AnoMem(hasty, device="cpu", seed=seed).fit(digits["train"]) for seed in (1, 1, 2)
    )
    scores = first.decision_function(digits["anomalous"])
    np.testing.assert_array_equal(scores, again.decision_function(digits["anomalous"]))
    assert not np.allclose(scores, other.decision_function(digits["anomalous"]))


def test_fit_leaves_the_random_state_and_the_images_alone(hasty: Config, digits: Digits) -> None:
    images, state = digits["train"].copy(), torch.random.get_rng_state()
    AnoMem(hasty, device="cpu", seed=1).fit(images)
    np.testing.assert_array_equal(images, digits["train"])
    assert torch.equal(torch.random.get_rng_state(), state)


class Tuples(Dataset[tuple[Image.Image, int]]):
    def __init__(self, images: list[Image.Image]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.images[index], 0


def every_kind(images: npt.NDArray[np.uint8], folder: Path) -> dict[str, object]:
    pictures = [Image.fromarray(image) for image in images]
    for index, picture in enumerate(pictures):
        picture.save(folder / f"{index:03}.png")
    return {
        "N x H x W x 1": images[..., None],
        "N x H x W x 3": np.repeat(images[..., None], 3, axis=3),
        "16 bits": images.astype(np.uint16) * 257,
        "a list of PIL images": pictures,
        "a list of arrays": list(images),
        "a folder": folder,
        "a glob": str(folder / "*.png"),
        "paths": sorted(folder.iterdir()),
        "a Dataset": Tuples(pictures),
    }


def test_every_kind_of_images_gives_the_same_scores(
    model: AnoMem, digits: Digits, tmp_path: Path
) -> None:
    images = digits["anomalous"][:20]
    expected = model.decision_function(images)
    for kind, given in every_kind(images, tmp_path).items():
        np.testing.assert_allclose(model.decision_function(given), expected, 0, 1e-5, err_msg=kind)


def test_every_kind_of_images_fits_the_same_model(
    hasty: Config, digits: Digits, tmp_path: Path
) -> None:
    images = digits["train"][:30]
    expected = AnoMem(hasty, device="cpu").fit(images).decision_function(digits["normal"])
    given = every_kind(images, tmp_path)
    for kind in ("16 bits", "a folder", "a list of PIL images", "a Dataset"):
        model = AnoMem(hasty, device="cpu").fit(given[kind])
        scores = model.decision_function(digits["normal"])
        np.testing.assert_allclose(scores, expected, 0, 1e-4, err_msg=kind)


def test_sixteen_bits_keep_their_depth(hasty: Config, digits: Digits) -> None:
    """These images are all the same but for their lower 8 bits."""
    deep = digits["train"].astype(np.uint16) + 98 * 256
    with pytest.warns(UserWarning, match="hardly differ from one another"):
        model = AnoMem(hasty, device="cpu").fit(deep)
    assert len(np.unique(model.decision_function(deep[:8]))) == 8


def test_loading_gives_identical_scores(model: AnoMem, digits: Digits, tmp_path: Path) -> None:
    model.adapt(digits["anomalous"][:3], [1, 1, 1])
    model.save(tmp_path / "model")
    loaded = load_trained(tmp_path / "model", device="cpu")
    scores = model.decision_function(digits["anomalous"])
    np.testing.assert_array_equal(loaded.decision_function(digits["anomalous"]), scores)
    assert loaded.threshold(0.1) == model.threshold(0.1)
    assert (loaded.config_, loaded.framing_) == (model.config_, model.framing_)
    assert loaded.summary_ == model.summary_
    np.testing.assert_array_equal(
        loaded.explain(digits["normal"][0]).heat, model.explain(digits["normal"][0]).heat
    )


def test_saving_replaces_the_older_model(model: AnoMem, digits: Digits, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    model.adapt(digits["anomalous"][:3], [1, 1, 1]).save(tmp_path / "model")
    files = sorted(file.suffix for file in (tmp_path / "model").iterdir())
    assert files == [".json", ".safetensors"]
    assert len(load_trained(tmp_path / "model").bank_.labelled) == 3


def brick_crops(count: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    brick = data.brick()
    return np.stack([brick[y : y + 16, x : x + 16] for y, x in rng.integers(0, 496, (count, 2))])


def test_size_on_disk_does_not_grow_with_the_training_set(hasty: Config, tmp_path: Path) -> None:
    """1,000 normals and 1,000 held-out ones are kept, of however many."""
    config = replace(hasty, calibration=replace(hasty.calibration, share=0.5))
    crops = np.unique(brick_crops(3100), axis=0)[:3000]
    sizes = []
    for count in (2100, 3000):
        AnoMem(config, device="cpu").fit(crops[:count]).save(tmp_path / str(count))
        (weights,) = (tmp_path / str(count)).glob("*.safetensors")
        sizes.append(weights.stat().st_size)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)  # names are longer


def test_explain_is_at_the_size_of_the_image(model: AnoMem, digits: Digits, tmp_path: Path) -> None:
    large = Image.fromarray(digits["anomalous"][0]).resize((40, 24))
    large.save(tmp_path / "large.png")
    for image in (large, np.asarray(large), tmp_path / "large.png", str(tmp_path / "large.png")):
        explained = model.explain(image)
        assert list(explained.maps) == list(explained.scale_scores) == ["scale_1", "scale_2"]
        for found in (*explained.maps.values(), explained.heat):
            assert found.shape == (24, 40) and found.dtype == np.float32
            assert np.isfinite(found).all()
        assert explained.score == pytest.approx(model.decision_function([large])[0], abs=1e-5)


def test_ten_normals_are_enough_and_nine_are_not(hasty: Config, digits: Digits) -> None:
    model = AnoMem(hasty, device="cpu").fit(digits["train"][:10])
    assert np.isfinite(model.decision_function(digits["anomalous"])).all()
    assert model.summary_["smallest_alpha"] == pytest.approx(1 / 6)
    with pytest.warns(UserWarning, match="deciding at alpha=0.167; fit on more"):
        model.predict(digits["normal"])
    with pytest.raises(ValueError, match=r"9 normal images are too few .* give at least 10\.$"):
        AnoMem(hasty, device="cpu").fit(digits["train"][:9])
    with pytest.raises(ValueError, match="8 normal images are too few"):
        AnoMem(hasty, device="cpu").fit(digits["train"][:10], [0] * 8 + [1] * 2)


def test_labels_in_y_and_in_anomalies_are_the_same(hasty: Config, digits: Digits) -> None:
    normal, anomalous = digits["train"][:40], digits["anomalous"][:6]
    together = np.concatenate([normal, anomalous])
    by_y = AnoMem(hasty, device="cpu").fit(together, [0] * 40 + [1] * 6)
    by_name = AnoMem(hasty, device="cpu").fit(normal, anomalies=anomalous)
    np.testing.assert_array_equal(
        by_y.decision_function(digits["anomalous"]), by_name.decision_function(digits["anomalous"])
    )
    assert by_y.summary_["anomalies"] == len(by_y.bank_.labelled) == 6


@pytest.mark.parametrize("y", [[0] * 29, [[0] * 30], [0] * 29 + [2], [0] * 29 + [-1], ["a"] * 30])
def test_wrong_labels_are_refused(y: Any, hasty: Config, digits: Digits) -> None:
    with pytest.raises(ValueError, match=r"^y (has shape|holds)"):
        AnoMem(hasty, device="cpu").fit(digits["train"][:30], y)


def test_held_out_normals_share_no_group_with_training_normals(
    hasty: Config, digits: Digits
) -> None:
    groups = [f"lot {index // 12}" for index in range(120)]
    model = AnoMem(hasty, device="cpu").fit(digits["train"], groups=groups)
    digest = digests(tensor_of(batch_to_shape(digits["train"][..., None], model.framing_.shape)))
    held = torch.isin(digest, model.bank_.held_out_digest).tolist()
    held_lots = {lot for lot, out in zip(groups, held, strict=True) if out}
    assert 0 < len(held_lots) < 10
    assert not held_lots & {lot for lot, out in zip(groups, held, strict=True) if not out}
    with pytest.raises(ValueError, match="3 groups for 120 images"):
        AnoMem(hasty, device="cpu").fit(digits["train"], groups=["a", "b", "c"])
    with pytest.raises(ValueError, match="all 120 normals are of the group 'a'"):
        AnoMem(hasty, device="cpu").fit(digits["train"], groups=["a"] * 120)


def test_shape_follows_the_images_where_no_size_is_chosen(hasty: Config) -> None:
    config = replace(hasty, images=scratch().images)
    crops = [data.astronaut()[row : row + 40, :30] for row in range(10)]
    model = AnoMem(config, device="cpu").fit(np.stack(crops))
    assert model.framing_.shape == ImageShape(3, 40, 24)


def test_progress_tells_each_stage(hasty: Config, digits: Digits) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    model = AnoMem(hasty, device="cpu").fit(digits["train"], progress=progress)
    model.decision_function(digits["normal"], progress=progress)
    assert {("reading", 120, 120), ("stage 1", 3, 3), ("scoring", 58, 58)} <= set(told)


@pytest.fixture(scope="module")
def wide(tiny: Config) -> Config:
    """Narrower encoders never have the channels of a place side by side."""
    return replace(
        tiny,
        encoder=replace(tiny.encoder, width=16, stem_stride=2),
        stage1=replace(tiny.stage1, min_steps=12, max_steps=12),
    )


@pytest.fixture(scope="module")
def usual_loss(wide: Config, digits: Digits) -> float:
    return AnoMem(wide, device="cpu").fit(digits["train"]).summary_["loss"]


@pytest.mark.parametrize(
    "compute",
    [
        ComputeChoices(precision="bf16"),
        ComputeChoices(channels_last=False),
        pytest.param(ComputeChoices(compile=True), marks=pytest.mark.slow),
    ],
)
def test_it_learns_however_it_is_computed(
    compute: ComputeChoices, wide: Config, usual_loss: float, digits: Digits
) -> None:
    model = AnoMem(replace(wide, compute=compute), device="cpu").fit(digits["train"])
    weights = model.network_.encoder.backbone.layer1[0].conv1.weight
    assert weights.is_contiguous(memory_format=torch.channels_last) is compute.channels_last
    assert model.summary_["loss"] != usual_loss
    assert model.summary_["loss"] == pytest.approx(usual_loss, abs=0.3)
    normal, anomalous = (model.decision_function(digits[k]) for k in ("normal", "anomalous"))
    assert auroc(normal, anomalous) > 0.9


def test_a_model_that_cannot_learn_ends_in_a_sentence(hasty: Config, digits: Digits) -> None:
    config = replace(hasty, stage1=replace(hasty.stage1, learning_rate=1e30, max_steps=20))
    with pytest.raises(FloatingPointError, match=r"lower stage1\.learning_rate"):
        AnoMem(config, device="cpu").fit(digits["train"])


def test_literal_retrieval_and_no_prior_work_too(hasty: Config, digits: Digits) -> None:
    config = replace(
        hasty,
        memory=replace(hasty.memory, unit_norm=False, steps=3),
        pseudo=replace(hasty.pseudo, kinds=()),
        stage2=replace(hasty.stage2, prior=None),
    )
    model = AnoMem(config, device="cpu").fit(digits["train"], anomalies=digits["anomalous"][:10])
    assert np.isfinite(model.decision_function(digits["anomalous"])).all()
