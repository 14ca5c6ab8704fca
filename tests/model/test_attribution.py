import copy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import AnoMem, Config
from anomem.config import MemoryChoices, Stage2Choices
from anomem.config.presets import scratch
from anomem.images.image_set import tensor_of, to_float
from anomem.images.resize import batch_to_shape
from anomem.model.attribution import Attribution, attribution
from anomem.model.features import extract
from anomem.model.heat import shares_of_unusual
from anomem.model.place_maps import place_maps
from anomem.model.scorer import added, fuse

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def fitted(tiny: Config, digits: Digits) -> AnoMem:
    """Scored by a Mahalanobis distance, upright and upside down, as the preset ``scratch`` is."""
    config = replace(
        tiny,
        score=scratch().score,
        pseudo=scratch().pseudo,
        loss=replace(tiny.loss, kind_weight=0.5),
    )
    return AnoMem(config, device="cpu").fit(digits["train"])


def of(model: AnoMem, image: npt.NDArray[np.uint8]) -> Attribution:
    pixels = to_float(tensor_of(batch_to_shape(image[None, ..., None], model.framing_.shape)))
    usual = model.detector().usual
    measured = extract(model.network_, pixels, usual=usual)
    finest = place_maps(model.network_, pixels).features[0]
    unusual = shares_of_unusual(usual, finest)[0] if usual else None
    return attribution(model.network_, model.scorer_, pixels, measured, unusual)


def total(found: Attribution) -> float:
    return found.rest + float(sum(places.sum() for places in found.maps))


def test_shares_and_rest_are_the_score(fitted: AnoMem, digits: Digits) -> None:
    scores = fitted.decision_function(digits["anomalous"][:4])
    found = [of(fitted, image) for image in digits["anomalous"][:4]]
    np.testing.assert_allclose([total(each) for each in found], scores, atol=1e-4)
    for each in found:
        assert [places.shape for places in each.maps] == [(4, 4), (2, 2)]


def test_unusual_places_have_their_share(tiny: Config, digits: Digits) -> None:
    model = AnoMem(replace(tiny, score=scratch().score), device="cpu").fit(digits["train"])
    assert model.heat_[0].aligned
    scores = model.decision_function(digits["anomalous"][:4])
    found = [of(model, image) for image in digits["anomalous"][:4]]
    np.testing.assert_allclose([total(each) for each in found], scores, atol=1e-4)
    model.scorer_.beside.zero_()
    for image, each in zip(digits["anomalous"][:4], found, strict=True):
        assert float(each.maps[0].sum() - of(model, image).maps[0].sum()) > 0


def assert_rest_is_that_of_no_deviation(
    model: AnoMem, images: npt.NDArray[np.uint8], level: float
) -> None:
    """What is pooled is kept in 16 bits, which costs the sum a thousandth of the score."""
    for image in images:
        found = of(model, image)
        assert found.rest == pytest.approx(level, abs=0.003 * (abs(total(found)) + abs(level)))


def test_places_have_all_of_a_mahalanobis_distance(fitted: AnoMem, digits: Digits) -> None:
    """And of how unusual the most unusual places are."""
    scorer = fitted.scorer_
    zero = -float(scorer.one_class_units.mean / scorer.one_class_units.std)
    zero -= float(scorer.beside * scorer.beside_units.mean / scorer.beside_units.std)
    for images in (digits["anomalous"][:4], digits["normal"][:4]):
        assert_rest_is_that_of_no_deviation(fitted, images, zero)


def test_places_have_all_of_a_deviation_norm(hasty: Config, digits: Digits) -> None:
    model = AnoMem(hasty, device="cpu").fit(digits["train"])
    assert model.scorer_.mahalanobis is None
    zero = -float(model.scorer_.one_class_units.mean / model.scorer_.one_class_units.std)
    assert_rest_is_that_of_no_deviation(model, digits["anomalous"][:4], zero)
    for places in of(model, digits["anomalous"][0]).maps:
        assert (places >= 0).all()


def test_places_have_all_of_the_evidence_of_stage_1_and_of_likeness(
    fitted: AnoMem, digits: Digits
) -> None:
    """Along the slopes of what they add, and the rest is where these lines meet nothing."""
    told = AnoMem(fitted.config_, device="cpu")
    told.fit(digits["train"], anomalies=digits["anomalous"][:30])
    one_class = copy.deepcopy(told)
    one_class.scorer_.labels.zero_()
    detector = told.scorer_
    assert detector.mahalanobis is not None and detector.prior is not None
    for image in digits["anomalous"][40:44]:
        pixels = to_float(tensor_of(batch_to_shape(image[None, ..., None], told.framing_.shape)))
        features = extract(told.network_, pixels, usual=told.detector().usual)
        adds = rest = 0.0
        for units, value, weight in (
            (
                detector.evidence_units,
                fuse(features.evidence, detector.lambdas),
                (30 / (30 + 100)) ** 2,
            ),
            (
                detector.likeness_units,
                detector.mahalanobis.likeness(features.pooled),
                30 / (30 + detector.prior) / 2,
            ),
        ):
            z = units(value).detach().requires_grad_()
            term = added(z).sum() * weight
            (slope,) = torch.autograd.grad(term, z)
            adds += float(term.detach())
            rest += float(term.detach() - slope * (z.detach() + units.mean / units.std))
        found, without = of(told, image), of(one_class, image)
        assert total(found) - total(without) == pytest.approx(adds, abs=1e-3)
        within = 0.003 * abs(total(found)) + 1e-2
        assert found.rest - without.rest == pytest.approx(rest, abs=within)


def test_heads_of_stage_2_have_their_shares_too(fitted: AnoMem, digits: Digits) -> None:
    model = copy.deepcopy(fitted)
    before = of(model, digits["anomalous"][40])
    model.adapt(digits["anomalous"][:30], [1] * 30)
    after = of(model, digits["anomalous"][40])
    expected = model.decision_function(digits["anomalous"][40:41])[0]
    assert total(after) == pytest.approx(expected, abs=1e-4)
    assert any(not torch.allclose(a, b) for a, b in zip(after.maps, before.maps, strict=True))


def test_places_that_deviate_most_have_their_shares(hasty: Config, digits: Digits) -> None:
    config = replace(
        hasty,
        encoder=replace(hasty.encoder, frozen=True),
        memory=MemoryChoices(prototypes="places", sizes=(64, 32)),
        stage2=Stage2Choices(),
    )
    model = AnoMem(config, device="cpu").fit(digits["train"])
    for labels in (0, 10):
        if labels:
            model.adapt(digits["anomalous"][:labels], [1] * labels)
        scores = model.decision_function(digits["anomalous"][40:44])
        found = [of(model, image) for image in digits["anomalous"][40:44]]
        np.testing.assert_allclose([total(each) for each in found], scores, rtol=1e-4)
        # So what places have no part in is a small part, or it would say nothing.
        told = [sum(abs(places).sum() for places in each.maps) for each in found]
        assert min(told) > 1


def test_a_mirrored_image_has_mirrored_shares(fitted: AnoMem, digits: Digits) -> None:
    """But for those of what is usual at a place."""
    image, model = digits["anomalous"][7], copy.deepcopy(fitted)
    model.scorer_.beside.zero_()
    straight, mirrored = of(model, image), of(model, image[:, ::-1].copy())
    for a, b in zip(straight.maps, mirrored.maps, strict=True):
        torch.testing.assert_close(a, b.flip(1), atol=1e-3, rtol=1e-2)
