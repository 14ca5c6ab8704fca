"""A detector with a frozen encoder and memories of places, through its whole life."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

import anomem
from anomem import AnoMem
from anomem.config import Config, EncoderChoices, ImageChoices, MemoryChoices
from anomem.evaluation.metrics import auroc

Images = npt.NDArray[np.uint8]

CONFIG = Config(
    images=ImageChoices(size=32),
    encoder=EncoderChoices(name="resnet10t", width=16, stem_stride=2, frozen=True),
    memory=MemoryChoices(prototypes="places", sizes=(256, 64)),
)


def crops(photograph: Images, first: int, count: int) -> Images:
    """Some of the 256 squares that a photograph is cut into, in a shuffled order."""
    corners = 32 * np.indices((16, 16)).reshape(2, -1).T
    shuffled = np.random.default_rng(0).permutation(corners)[first : first + count]
    return np.stack([photograph[r : r + 32, c : c + 32] for r, c in shuffled])


def scratched(images: Images, seed: int) -> Images:
    """The same with a bright scratch each."""
    drawn, odd = np.random.default_rng(seed), images.copy()
    for image in odd:
        row, column = drawn.integers(2, 22, 2)
        image[row : row + 3, column : column + 9] = 250
    return odd


@pytest.fixture(scope="module")
def gravel() -> Images:
    data = pytest.importorskip("skimage.data", reason="needs anomem[demo]")
    photograph: Images = data.gravel()
    return photograph


@pytest.fixture(scope="module")
def model(gravel: Images) -> AnoMem:
    return AnoMem(CONFIG).fit(crops(gravel, 0, 80))


def test_a_scratch_is_found_without_training(model: AnoMem, gravel: Images) -> None:
    good = crops(gravel, 80, 40)
    odd = scratched(crops(gravel, 120, 40), seed=4)
    scores = model.decision_function(np.concatenate([good, odd]))
    higher = (scores[40:, None] > scores[None, :40]).mean()
    assert higher > 0.8
    assert model.summary_["steps"] == 0 and model.summary_["loss"] is None


def test_a_score_is_the_same_to_the_bit_in_batches_of_any_size(
    model: AnoMem, gravel: Images
) -> None:
    images = crops(gravel, 80, 70)
    together = model.decision_function(images)
    assert np.array_equal(
        together[:9], np.concatenate([model.decision_function(i[None]) for i in images[:9]])
    )
    assert np.array_equal(together[60:], model.decision_function(images[60:]))


def test_a_saved_model_scores_alike_to_the_bit(
    model: AnoMem, gravel: Images, tmp_path: Path
) -> None:
    images = crops(gravel, 80, 8)
    model.save(tmp_path / "model")
    again = anomem.load(tmp_path / "model")
    assert np.array_equal(model.decision_function(images), again.decision_function(images))
    assert again.origins_ == model.origins_


def test_every_prototype_is_a_place_of_the_image_that_it_names(
    model: AnoMem, gravel: Images
) -> None:
    given = crops(gravel, 0, 80)
    images = np.stack([given[int(each.image.removeprefix("image "))] for each in model.origins_])
    with torch.no_grad():
        maps = model.network_(torch.from_numpy(images)[:, None] / 255)
    for features, memory in zip(maps, model.network_.place_memories(), strict=True):
        frame, place = memory.origin.unbind(dim=1)
        found = memory.comparable(features.flatten(2)[frame, :, place])
        gaps = (found - memory.prototypes.float()).norm(dim=1)
        assert gaps.max() < 1e-2 * found.norm(dim=1).mean()


def test_a_frozen_encoder_is_kept_in_half_precision(model: AnoMem, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    weights = load_file(next((tmp_path / "model").glob("*.safetensors")))
    kept = {k: v for k, v in weights.items() if k.startswith("network.encoder.") and v.dim() == 4}
    assert {v.dtype for k, v in kept.items() if "backbone" in k} == {torch.float16}
    for name, values in model.network_.encoder.backbone.state_dict().items():
        assert torch.equal(weights[f"network.encoder.backbone.{name}"].to(values), values)


def test_attributions_are_the_score_and_lie_on_the_scratch(model: AnoMem, gravel: Images) -> None:
    image = scratched(crops(gravel, 80, 1), seed=8)[0]
    told = model.explain(image)
    total = sum(float(places.sum()) for places in told.attribution.values()) + told.rest
    assert total == pytest.approx(told.score, abs=1e-4)
    assert told.recalled["scale_1"].max() < 256 and told.recalled["scale_2"].max() < 64
    marked = np.abs(image.astype(int) - 250) < 1
    assert told.heat[marked].mean() > told.heat[~marked].mean() + 1


def test_a_further_kind_of_normal_is_no_alarm(
    model: AnoMem, gravel: Images, tmp_path: Path
) -> None:
    from skimage import data

    grass = data.grass()
    wider = AnoMem(CONFIG).fit(crops(gravel, 0, 80)).extend(crops(grass, 0, 60))
    sizes = [len(memory.prototypes) for memory in wider.network_.place_memories()]
    assert 256 < sizes[0] <= 512 and 64 < sizes[1] <= 128
    wider.save(tmp_path / "wider")
    again = anomem.load(tmp_path / "wider")
    assert again.origins_ == wider.origins_ and len(wider.origins_) > len(model.origins_)
    new = crops(grass, 60, 60)
    assert np.array_equal(again.decision_function(new), wider.decision_function(new))
    assert wider.predict(new, 0.1).mean() < 0.25
    assert wider.decision_function(new).mean() < model.decision_function(new).mean() - 0.5
    assert wider.predict(crops(gravel, 160, 60), 0.1).mean() < 0.3


def test_labels_are_learnt_and_taken_back(model: AnoMem, gravel: Images) -> None:
    odd = scratched(crops(gravel, 220, 24), seed=13)
    before = model.decision_function(odd)
    learnt = AnoMem(CONFIG).fit(crops(gravel, 0, 80))
    learnt.adapt(odd[:12], np.ones(12, dtype=int))
    assert learnt.decision_function(odd[12:]).mean() > before[12:].mean()
    learnt.forget(odd[:12])
    assert np.array_equal(learnt.decision_function(odd), before)


def test_what_cannot_be_trained_is_refused(gravel: Images) -> None:
    model = AnoMem(CONFIG).fit(crops(gravel, 0, 40))
    with pytest.raises(ValueError, match='nothing that depth="encoder" could train'):
        model.adapt(crops(gravel, 80, 1), [1], depth="encoder", normal=crops(gravel, 0, 40))


def test_a_false_alarm_that_is_labelled_normal_stays_none(gravel: Images, tmp_path: Path) -> None:
    """Whether it is shown again as it is or moved by a pixel; the label taken back, all returns."""
    model = AnoMem(CONFIG).fit(crops(gravel, 0, 80))
    pool, odd = crops(gravel, 80, 120), scratched(crops(gravel, 200, 40), seed=4)
    before, found = model.decision_function(pool), model.decision_function(odd)
    alarms = before.argsort()[-5:]
    assert (before[alarms] > model.threshold(0.1)).all()
    kept = model.decision_function(pool[:40])
    model.adapt(pool[alarms], np.zeros(5, dtype=int))
    after = model.decision_function(pool)
    assert (after[alarms] < model.threshold(0.1)).all() and (after <= before).all()
    moved = np.roll(pool[alarms], 1, axis=2)
    assert model.decision_function(moved).mean() < before[alarms].mean() - 0.5
    others = np.setdiff1d(np.arange(120), alarms)
    assert auroc(after[others], model.decision_function(odd)) > auroc(before[others], found) - 0.01
    assert model.bank_.labelled.places.shape == (5, 30, sum(model.network_.widths))
    assert [memory.allowed for memory in model.network_.place_memories()] == [150, 150]
    model.save(tmp_path / "model")
    again = anomem.load(tmp_path / "model")
    assert np.array_equal(again.decision_function(pool), after)
    again.forget(pool[alarms])
    assert np.array_equal(again.decision_function(pool[:40]), kept)
    model.adapt(pool[alarms], -np.ones(5, dtype=int))
    assert np.array_equal(model.decision_function(pool), before)


def test_a_further_kind_is_measured_without_what_labels_allow(gravel: Images) -> None:
    """Or its held-out normals would score too low for others once the labels are taken back."""
    from skimage import data

    plain, labelled = (AnoMem(CONFIG).fit(crops(gravel, 0, 40)) for _ in range(2))
    labelled.adapt(crops(gravel, 80, 5), np.zeros(5, dtype=int))
    for model in (plain, labelled):
        model.extend(crops(data.grass(), 0, 30))
    assert torch.equal(plain.bank_.held_out.scores, labelled.bank_.held_out.scores)
    memories = zip(plain.network_.place_memories(), labelled.network_.place_memories(), strict=True)
    for without, given in memories:
        assert torch.equal(given.prototypes[:-150], without.prototypes)
