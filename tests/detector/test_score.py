from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from skimage import data
from torch import Tensor

from anomem import AnoMem
from anomem.config import (
    Config,
    EncoderChoices,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    ScoreChoices,
    ViewChoices,
)
from anomem.detector.identity import digests
from anomem.model.features import extract
from anomem.model.network import MultiScaleMemory
from anomem.model.one_class import one_class_scores
from anomem.model.place_maps import place_maps

Digits = dict[str, npt.NDArray[np.uint8]]


def test_digest_is_the_same_at_either_depth() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    deep = (images.to(torch.int32) * 257).to(torch.uint16)
    assert torch.equal(digests(images), digests(deep))
    assert len(set(digests(images).tolist())) == 5 and bool((digests(images) >= 0).all())


def network_of(*, mirror: bool, upside_down: bool) -> MultiScaleMemory:
    torch.manual_seed(0)
    config = Config(
        encoder=EncoderChoices(width=4, stem_stride=2),
        memory=MemoryChoices(sizes=(8, 4)),
        pseudo=PseudoChoices(kinds=("rotate180",)),
        score=ScoreChoices(mirror=mirror, upside_down=upside_down),
    )
    return MultiScaleMemory(config).eval()


def crops() -> Tensor:
    photograph = torch.from_numpy(data.astronaut()[:64, :96].copy()).permute(2, 0, 1)
    return photograph.unfold(1, 32, 32).unfold(2, 32, 32).flatten(1, 2).transpose(0, 1)


def test_one_pass_measures_the_image_alone() -> None:
    network, images = network_of(mirror=False, upside_down=False), crops()
    maps = network.deviation_maps(images.float() / 255)
    measured = extract(network, images)
    torch.testing.assert_close(measured.scores, one_class_scores(maps))
    torch.testing.assert_close(measured.pooled, torch.cat(network.pooled(maps), 1))


def test_an_image_and_its_mirror_image_measure_the_same() -> None:
    network, images = network_of(mirror=True, upside_down=True), crops()
    one, other = extract(network, images), extract(network, images.flip(3))
    torch.testing.assert_close(one.scores, other.scores)
    torch.testing.assert_close(one.pooled, other.pooled)
    assert not torch.allclose(
        extract(network_of(mirror=False, upside_down=False), images).scores, one.scores
    )


def test_turning_an_image_swaps_what_is_pooled_upright_and_upside_down() -> None:
    network, images = network_of(mirror=False, upside_down=True), crops()
    one, other = (
        extract(network, each).pooled.split(network.pooled_widths, dim=1)
        for each in (images, images.rot90(2, dims=(2, 3)))
    )
    for scale, turned in zip(one, other, strict=True):
        upright, upside_down = scale.chunk(2, dim=1)
        torch.testing.assert_close(torch.cat([upside_down, upright], 1), turned)


def test_views_that_are_not_flipped_have_no_mirror_image() -> None:
    config = Config(
        views=ViewChoices(flip=False), score=ScoreChoices(mirror=True, upside_down=True)
    )
    network = MultiScaleMemory(config)
    assert not network.mirrored and not network.upside_down


def test_maps_of_places_are_those_of_the_image_and_of_its_mirror_image() -> None:
    torch.manual_seed(0)
    config = Config(
        encoder=EncoderChoices(width=4, stem_stride=2),
        memory=MemoryChoices(sizes=(8, 4)),
        loss=LossChoices(patch_weight=1.0),
        score=ScoreChoices(mirror=True),
    )
    network, images = MultiScaleMemory(config).eval(), crops()
    one, other = (place_maps(network, each, deviations=True) for each in (images, images.flip(3)))
    assert [maps.shape[2:] for maps in one.features] == [(8, 8), (4, 4)]
    assert [odds.shape[1:] for odds in one.odds] == [(4, 4), (2, 2)]
    for kind in ("features", "odds", "deviations"):
        for upright, mirrored in zip(getattr(one, kind), getattr(other, kind), strict=True):
            torch.testing.assert_close(upright, mirrored.flip(-1), rtol=1e-4, atol=1e-5)


def test_a_score_does_not_depend_on_the_batch(tiny: Config, digits: Digits) -> None:
    """Neither that of what stage 1 has learnt, nor that of anomalies labelled since."""
    images, odd = digits["train"], digits["anomalous"]
    few = replace(tiny, stage1=replace(tiny.stage1, min_steps=5, max_steps=5))
    model = AnoMem(few, device="cpu").fit(images, anomalies=odd[:8])
    for since in (0, 5):
        if since:
            model.adapt(odd[8 : 8 + since], np.ones(since))
        together = model.decision_function(images)
        for size, count in ((1, 20), (2, 20), (3, 21), (7, 21), (50, 120)):
            parts = np.split(images[:count], range(size, count, size))
            apart = np.concatenate([model.decision_function(part) for part in parts])
            np.testing.assert_array_equal(apart, together[:count])
