"""A detector with a frozen encoder and memories of places, through its whole life."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from running import run
from safetensors.torch import load_file
from squares import CONFIG, Images, crops, place_counts, scratched
from torch.nn.functional import interpolate

from anomem import AnoMem
from anomem.config import Config, ImageChoices
from anomem.detector import training_images
from anomem.detector.adapt import labelled_images
from anomem.detector.estimator import load_trained
from anomem.evaluation.metrics import auroc
from anomem.images.listing import list_images
from anomem.images.masks import mask_files
from anomem.images.open import open_images
from anomem.model.features import extract

BOTTLE = Path(__file__).parents[3] / "shared" / "data" / "mvtec" / "bottle"
Patch = pytest.MonkeyPatch


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


def test_what_is_another_thing_as_a_whole_scores_higher_by_it(
    model: AnoMem, gravel: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, turned = crops(gravel, 80, 10), 255 - crops(gravel, 120, 10)
    added = [model.explain(image).beside for image in (*good, *turned)]
    assert np.median(added[10:]) > np.median(added[:10]) + 1
    assert 0 < float(model.scorer_.beside) == pytest.approx((1 - float(model.heat_[0].share)) ** 2)
    Image.fromarray(turned[0]).save(tmp_path / "turned.png")
    model.save(tmp_path / "model")
    assert run("explain", tmp_path / "model", tmp_path / "turned.png") == 0
    assert f"{added[10]:+.2f} of it by the whole image" in capsys.readouterr().out


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
    again = load_trained(tmp_path / "model")
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
    wider = copy.deepcopy(model).extend(crops(grass, 0, 60))
    sizes = [len(memory.prototypes) for memory in wider.network_.place_memories()]
    assert 256 < sizes[0] <= 512 and 64 < sizes[1] <= 128
    wider.save(tmp_path / "wider")
    again = load_trained(tmp_path / "wider")
    assert again.origins_ == wider.origins_ and len(wider.origins_) > len(model.origins_)
    new = crops(grass, 60, 60)
    assert np.array_equal(again.decision_function(new), wider.decision_function(new))
    assert wider.predict(new, 0.1).mean() < 0.25
    assert wider.decision_function(new).mean() < model.decision_function(new).mean() - 0.25
    assert wider.predict(crops(gravel, 160, 60), 0.1).mean() < 0.3


def test_labels_are_learnt_and_taken_back(model: AnoMem, gravel: Images) -> None:
    odd = scratched(crops(gravel, 220, 24), seed=13)
    before = model.decision_function(odd)
    learnt = copy.deepcopy(model)
    learnt.adapt(odd[:12], np.ones(12, dtype=int))
    assert learnt.decision_function(odd[12:]).mean() > before[12:].mean()
    learnt.forget(odd[:12])
    assert np.array_equal(learnt.decision_function(odd), before)


def test_a_fit_with_labels_is_one_without_that_adapts(model: AnoMem, gravel: Images) -> None:
    """To the bit, and the rule that finds labelled anomalies promises as much."""
    odd = scratched(crops(gravel, 220, 12), seed=13)
    adapted = copy.deepcopy(model).adapt(odd, np.ones(12, dtype=int))
    fitted = AnoMem(CONFIG).fit(crops(gravel, 0, 80), anomalies=odd)
    new = scratched(crops(gravel, 120, 20), seed=4)
    assert np.array_equal(fitted.decision_function(new), adapted.decision_function(new))
    assert fitted.threshold() == adapted.threshold()
    assert fitted.labelled_anomalies() == adapted.labelled_anomalies() == (12, 0)
    assert fitted.promise("find-labelled") == adapted.promise("find-labelled")


def test_what_cannot_be_trained_is_refused(model: AnoMem, gravel: Images) -> None:
    with pytest.raises(ValueError, match="nothing that depth encoder could train; use depth heads"):
        model.adapt(crops(gravel, 80, 1), [1], depth="encoder", normal=crops(gravel, 0, 40))


def test_a_false_alarm_that_is_labelled_normal_stays_none(
    model: AnoMem, gravel: Images, tmp_path: Path
) -> None:
    """Whether it is shown again as it is or moved by a pixel; the label taken back, all returns."""
    model = copy.deepcopy(model)
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
    again = load_trained(tmp_path / "model")
    assert np.array_equal(again.decision_function(pool), after)
    again.forget(pool[alarms])
    assert np.array_equal(again.decision_function(pool[:40]), kept)
    model.adapt(pool[alarms], -np.ones(5, dtype=int))
    assert np.array_equal(model.decision_function(pool), before)


def test_a_further_kind_is_measured_without_what_labels_allow(
    model: AnoMem, gravel: Images
) -> None:
    """Or its held-out normals would score too low for others once the labels are taken back."""
    from skimage import data

    plain, labelled = copy.deepcopy(model), copy.deepcopy(model)
    labelled.adapt(crops(gravel, 80, 5), np.zeros(5, dtype=int))
    for each in (plain, labelled):
        each.extend(crops(data.grass(), 0, 30))
    assert torch.equal(plain.bank_.held_out.scores, labelled.bank_.held_out.scores)
    memories = zip(plain.network_.place_memories(), labelled.network_.place_memories(), strict=True)
    for without, given in memories:
        assert torch.equal(given.prototypes[:-150], without.prototypes)


def marks(images: Images) -> list[npt.NDArray[np.bool_]]:
    """Where each image has its scratch."""
    return [image == 250 for image in images]


def local_part(model: AnoMem) -> torch.Tensor:
    """The mean deviation over the places that deviate most, of each labelled image."""
    widths = model.network_.pooled_widths
    scales = model.bank_.labelled.features.pooled[:, : sum(widths)].split(widths, dim=1)
    return torch.cat([scale.chunk(3, dim=1)[2] for scale in scales], 1).float()


def test_what_deviates_within_a_mask_is_learnt(model: AnoMem, gravel: Images) -> None:
    """Mean deviation over the places that a mask touches, in a slow and obvious way."""
    odd = scratched(crops(gravel, 200, 6), seed=4)
    learnt = copy.deepcopy(model).adapt(odd, np.ones(6, int), masks=marks(odd))
    with torch.inference_mode():
        pixels = torch.from_numpy(odd)[:, None].expand(-1, 1, -1, -1) / 255
        deviations = model.network_.deviation_maps(pixels)
        distances = model.network_.relative_distances(deviations)
    fine, coarse = distances
    size = fine.shape[1:]
    for index, marked in enumerate(marks(odd)):
        enlarged = interpolate(coarse[index][None, None], size, mode="bilinear")[0, 0]
        total = fine[index] + 2 * enlarged
        cell = 32 // size[0]
        touched = {(i // cell, j // cell) for i, j in np.argwhere(marked).tolist()}
        most = sorted(touched, key=lambda at: -float(total[at]))[:10]
        values = torch.stack([deviations[0][index, :, i, j] for i, j in (most * 10)[:10]])
        found = local_part(learnt)[index][: values.shape[1]]
        torch.testing.assert_close(found, values.mean(dim=0), atol=1e-2, rtol=1e-2)


def test_a_mask_that_marks_all_or_nothing_is_as_none(model: AnoMem, gravel: Images) -> None:
    odd = scratched(crops(gravel, 200, 6), seed=4)
    plain = copy.deepcopy(model).adapt(odd, np.ones(6, int))
    for value in (0, 1):
        masks = [np.full((32, 32), value), None] * 3
        learnt = copy.deepcopy(model).adapt(odd, np.ones(6, int), masks=masks)
        assert torch.equal(local_part(learnt), local_part(plain))


def test_masks_that_cannot_be_meant_are_refused(
    model: AnoMem, gravel: Images, hasty: Config
) -> None:
    odd = scratched(crops(gravel, 200, 2), seed=4)
    one: list[Any] = marks(odd)
    for labels, masks, told in (
        ([1, 1], one[:1], "there are 1 masks for 2 images; give one an image"),
        ([1, 0], one, "image 1 is labelled 0 and has a mask; give masks of anomalies alone"),
        ([1, 1], [one[0], one[0][:, :9]], "a mask is 32 x 9 and its image 32 x 32; give a mask of"),
    ):
        with pytest.raises(ValueError, match=told):
            model.adapt(odd, labels, masks=masks)
    learnt = AnoMem(hasty).fit(crops(gravel, 0, 20))
    with pytest.raises(ValueError, match="masks teach memories of places, as of the preset"):
        learnt.adapt(odd, [1, 1], masks=one)


def test_of_tiles_one_that_the_mask_touches_is_learnt(gravel: Images) -> None:
    """The scratch of another tile is brighter, and that tile scores higher."""
    tiled = replace(CONFIG, images=ImageChoices(size=32, framing="tile"))
    parts = gravel.reshape(8, 64, 8, 64).swapaxes(1, 2).reshape(64, 64, 64)
    model = AnoMem(tiled).fit(list(parts[:30]))
    image, mask = parts[40].copy(), np.zeros((64, 64), dtype=bool)
    image[50:60, 50:60] = 255
    mask[5:8, 4:8] = True
    given = [
        labelled_images(model.detector(), open_images([image]), np.ones(1, np.int64), masks)
        for masks in (None, [mask])
    ]
    first, touched = (np.asarray(each.images.take(torch.tensor([0])))[0, 0] for each in given)
    assert (first == 255).sum() >= 50 and np.array_equal(touched, image[:32, :32])
    assert given[1].inside is not None and np.array_equal(given[1].inside[0], mask[:32, :32])


def test_masks_of_files_are_found_beside_the_folder_of_anomalies(
    model: AnoMem, gravel: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = scratched(crops(gravel, 200, 6), seed=4)
    for folder, images in (("odd", odd), ("masks", marks(odd))):
        (tmp_path / folder / "scratch").mkdir(parents=True)
        for index, image in enumerate(images):
            name = f"{index}.png" if folder == "odd" else f"{index}_mask.png"
            Image.fromarray(image).save(tmp_path / folder / "scratch" / name)
    model.save(tmp_path / "model")
    odd_folder, out = tmp_path / "odd", tmp_path / "new"
    words = ("adapt", tmp_path / "model", "--anomalies", odd_folder, "--out", out)
    assert run(*words, "--masks", tmp_path / "masks") == 0
    expected = copy.deepcopy(model).adapt(odd, np.ones(6, int), masks=marks(odd))
    assert torch.equal(local_part(load_trained(tmp_path / "new")), local_part(expected))
    assert run(*words, "--masks", tmp_path) == 1
    assert "has no mask; put one at" in capsys.readouterr().err
    assert run(*words[:2], "--normal", odd_folder, "--masks", tmp_path, *words[4:]) == 1
    assert "--masks is of the images of --anomalies" in capsys.readouterr().err


@pytest.mark.skipif(not BOTTLE.exists(), reason="needs MVTec AD, which is not in the repository")
def test_masks_of_mvtec_ad_are_learnt() -> None:
    """Of ten broken bottles; the twelve others lie further above the good ones than before."""
    config = replace(CONFIG, images=ImageChoices(size=64))
    model = AnoMem(config).fit(list_images(BOTTLE / "train" / "good")[:60])
    odd = list_images(BOTTLE / "test" / "broken_small")
    masks = mask_files(odd, BOTTLE / "test", BOTTLE / "ground_truth")
    good = list_images(BOTTLE / "test" / "good")
    before = model.decision_function(odd[10:]).mean() - model.decision_function(good).mean()
    model.adapt(odd[:10], np.ones(10, int), masks=masks[:10])
    after = model.decision_function(odd[10:]).mean() - model.decision_function(good).mean()
    assert after > before


def test_each_normal_is_held_out_in_turn(model: AnoMem, gravel: Images) -> None:
    """It is measured by memories that hold no place of it, and so deviates more than once it is."""
    given, bank = crops(gravel, 0, 80), model.bank_
    assert bank.held_out_in_turn.all() and len(bank.held_out) == 80 and len(bank.normals) == 0
    assert model.summary_["normals"] == model.summary_["held_out"] == 80
    again = extract(model.network_, torch.from_numpy(given)[:, None])
    assert again.scores.mean() < bank.held_out.scores.mean() - 0.02
    unseen = extract(model.network_, torch.from_numpy(crops(gravel, 80, 100))[:, None])
    assert unseen.scores.mean(dim=0).tolist() == pytest.approx(
        bank.held_out.scores.mean(dim=0).tolist(), rel=0.05
    )


def test_of_more_normals_a_share_is_held_out(gravel: Images, monkeypatch: Patch) -> None:
    monkeypatch.setattr(training_images, "MOST_IN_TURN", 18)
    bank = AnoMem(CONFIG).fit(crops(gravel, 0, 80)).bank_
    assert len(bank.held_out) == 19 and len(bank.normals) == 61
    assert not bank.held_out_in_turn.any()


def test_some_normals_are_held_out_in_turn_where_there_are_many(
    gravel: Images, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(training_images, "MOST_IN_TURN", 30)
    model = AnoMem(CONFIG).fit(crops(gravel, 0, 80))
    assert model.summary_["normals"] == 80 and len(model.bank_.held_out) == 30
    assert len(model.origins_) > 30 and model.bank_.held_out_in_turn.all()
    unseen = extract(model.network_, torch.from_numpy(crops(gravel, 80, 100))[:, None])
    assert unseen.scores.mean() == pytest.approx(float(model.bank_.held_out.scores.mean()), rel=0.1)


def test_a_training_image_that_is_no_normal_leaves_the_memory(
    gravel: Images, tmp_path: Path
) -> None:
    """Labelled anomalous or set aside, none of its places is recalled; taken back, all is again."""
    slipped = scratched(crops(gravel, 200, 2), seed=4)
    model = AnoMem(CONFIG).fit(np.concatenate([crops(gravel, 0, 60), slipped]))
    unseen = scratched(crops(gravel, 220, 20), seed=4)
    before, sizes = model.decision_function(slipped), place_counts(model)
    model.adapt(slipped[:1], [1])
    assert place_counts(model) < sizes
    assert model.decision_function(slipped[:1]) > model.threshold(0.1) > before[0]
    model.set_aside(slipped[1:])
    assert (model.decision_function(slipped) > before + 1).all()
    model.save(tmp_path / "model")
    again = load_trained(tmp_path / "model")
    assert np.array_equal(again.decision_function(unseen), model.decision_function(unseen))
    again.forget(slipped)
    assert place_counts(again) == sizes
    assert np.array_equal(again.decision_function(slipped), before)


def test_copies_that_join_all_groups_leave_a_split(gravel: Images) -> None:
    images = crops(gravel, 0, 40)
    images[39] = images[0]
    with pytest.warns(UserWarning, match="1 of 40 normals are copies"):
        model = AnoMem(CONFIG).fit(images, groups=["a"] * 20 + ["b"] * 20)
    assert not model.bank_.held_out_in_turn.any()


def test_labels_where_one_group_is_left(gravel: Images) -> None:
    images = crops(gravel, 0, 40)
    model = AnoMem(CONFIG).fit(images, groups=["a"] * 20 + ["b"] * 20)
    model.adapt(images[20:30], np.ones(10, int)).set_aside(images[30:])
    assert np.isfinite(model.threshold(0.5))
