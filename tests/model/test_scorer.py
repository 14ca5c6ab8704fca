import copy
import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from anomem.decision.calibrate import Calibration, threshold
from anomem.model.features import Features
from anomem.model.one_class import RememberedImages
from anomem.model.scorer import Heads, Scorer, fuse

LAMBDAS = (1.0, 2.0)


def detector_of(prior: float | None = 30.0, mahalanobis: bool = True) -> Scorer:
    torch.manual_seed(1)
    detector = Scorer(Heads((3, 4), hidden=5), LAMBDAS, prior, mahalanobis=mahalanobis)
    detector.heads.mean.normal_()
    detector.heads.std.uniform_(0.5, 2)
    detector.fit_normals(torch.randn(50, 7), held_out())
    detector.fit_heads(held_out())
    return detector.eval()


def held_out() -> Features:
    generator = torch.Generator().manual_seed(5)
    return Features(
        torch.rand(20, 2, generator=generator) + 1,
        torch.randn(20, 7, generator=generator) * 2,
        torch.randn(20, 2, generator=generator) * 3 - 2,
        torch.randn(20, generator=generator) + 3,
    )


def images() -> Features:
    generator = torch.Generator().manual_seed(2)
    return Features(
        torch.rand(6, 2, generator=generator),
        torch.randn(6, 7, generator=generator),
        torch.randn(6, 2, generator=generator),
        torch.randn(6, generator=generator) * 2,
    )


def test_each_head_sees_its_own_scale_standardised() -> None:
    heads, pooled = detector_of().heads, images().pooled
    distance = heads(pooled)
    assert distance.shape == (6, 2)
    for b in range(6):
        standard = [
            (float(x) - float(m)) / float(s)
            for x, m, s in zip(pooled[b], heads.mean, heads.std, strict=True)
        ]
        for s, part in enumerate((standard[:3], standard[3:])):
            expected = heads.scales[s](torch.tensor(part))
            torch.testing.assert_close(distance[b, s], expected[0], atol=1e-5, rtol=1e-4)


def terms(detector: Scorer, features: Features) -> dict[str, list[float]]:
    """The three terms of the score, each with full weight."""
    told = detector.heads(features.pooled) @ torch.tensor([1 / 3, 2 / 3])
    evidence = features.evidence @ torch.tensor([1 / 3, 2 / 3])
    return {
        "one-class": detector.one_class(features).tolist(),
        "evidence": detector.evidence_units(evidence).tolist(),
        "stage 2": detector.stage2_units(told).tolist(),
    }


@pytest.mark.parametrize("mahalanobis", [True, False])
@pytest.mark.parametrize("count", [2, 19, 200])
def test_every_term_is_in_standard_deviations_of_held_out_normals(
    mahalanobis: bool, count: int
) -> None:
    detector = detector_of(mahalanobis=mahalanobis)
    unseen = Features(
        torch.rand(count, 2) * 3 + 4,
        torch.randn(count, 7) * 3,
        torch.rand(count, 2),
        torch.rand(count),
    )
    detector.fit_normals(torch.randn(60, 7), unseen)
    detector.fit_heads(unseen)
    for name, values in terms(detector, unseen).items():
        assert statistics.fmean(values) == pytest.approx(0, abs=1e-4), name
        assert statistics.stdev(values) == pytest.approx(1, rel=1e-3), name


def test_mahalanobis_distance_takes_the_place_of_the_norms() -> None:
    detector, features = detector_of(), images()
    assert detector.mahalanobis is not None
    for b, distance in enumerate(detector.mahalanobis(features.pooled).tolist()):
        expected = (distance - float(detector.one_class_units.mean)) / float(
            detector.one_class_units.std
        )
        assert float(detector.one_class(features)[b]) == pytest.approx(expected, abs=1e-4)


def test_unusual_places_add_their_weight_in_deviations_of_held_out_normals() -> None:
    detector, features, usual = detector_of(), images(), held_out().beside.tolist()
    without = detector(features).tolist()
    detector.beside.fill_(0.5)
    for b, score in enumerate(detector(features).tolist()):
        unusual = float(features.beside[b]) - statistics.fmean(usual)
        expected = without[b] + 0.5 * unusual / statistics.stdev(usual)
        assert score == pytest.approx(expected, abs=1e-4)


def test_unusual_places_of_a_held_out_normal_are_in_units_of_the_others() -> None:
    """As those of a new image are, which has no part in the units."""
    detector, normals, group = detector_of(), held_out(), torch.arange(20) // 2
    assert detector.mahalanobis is not None
    without = detector.of_held_out(normals, group, detector)
    detector.beside.fill_(0.5)
    found = detector.of_held_out(normals, group, detector)
    deviates = detector.mahalanobis(normals.pooled).tolist()
    for n in range(20):
        others = [m for m in range(20) if group[m] != group[n]]
        usual = [float(normals.beside[m]) for m in others]
        unusual = (float(normals.beside[n]) - statistics.fmean(usual)) / statistics.stdev(usual)
        unit = statistics.stdev(deviates[m] for m in others) / statistics.stdev(deviates)
        assert float(found[n]) == pytest.approx(float(without[n]) + 0.5 * unit * unusual, abs=1e-4)


@pytest.mark.parametrize("count", [1, 20])
def test_held_out_normals_that_are_all_alike_give_finite_scores(count: int) -> None:
    """A thousandth of the size of a term is then its unit."""
    detector = detector_of()
    alike = Features(*(torch.ones(count, *width) for width in ((2,), (7,), (2,), ())))
    detector.fit_normals(torch.ones(20, 7), alike)
    detector.fit_heads(alike)
    for values in terms(detector, images()).values():
        assert all(math.isfinite(value) for value in values)
    detector.fit_normals(torch.randn(20, 7), alike)
    for name, values in terms(detector, images()).items():
        assert max(map(abs, values)) < 1e4, name


@pytest.mark.parametrize("prior", [30.0, None])
def test_without_labels_the_score_is_exactly_the_one_class_score(prior: float | None) -> None:
    detector, features = detector_of(prior), images()
    assert torch.equal(detector(features), detector.one_class(features))


@pytest.mark.parametrize(
    ("labels", "learnt"), [(1, 0), (10, 0), (30, 0), (1000, 0), (5, 5), (40, 30)]
)
def test_heads_gain_weight_with_labels(labels: int, learnt: int) -> None:
    """Those of stage 1 with the labels that it learnt from, those of stage 2 with the others."""
    detector, features = detector_of(), images()
    detector.labels.fill_(labels)
    detector.learnt.fill_(learnt)
    usual = held_out()
    evidence = [(e1 + 2 * e2) / 3 for e1, e2 in usual.evidence.tolist()]
    told = [(d1 + 2 * d2) / 3 for d1, d2 in detector.heads(usual.pooled).tolist()]
    since = labels - learnt
    for b in range(6):
        d1, d2 = detector.heads(features.pooled)[b].tolist()
        e1, e2 = features.evidence[b].tolist()
        of_stage_1 = ((e1 + 2 * e2) / 3 - statistics.fmean(evidence)) / statistics.stdev(evidence)
        of_stage_2 = ((d1 + 2 * d2) / 3 - statistics.fmean(told)) / statistics.stdev(told)
        expected = float(detector.one_class(features)[b])
        expected += (learnt / (learnt + 100)) ** 2 * 2 * math.log1p(math.exp(2 * of_stage_1 - 2))
        expected += since / (since + 30) * 2 * math.log1p(math.exp(2 * of_stage_2 - 2))
        assert float(detector(features)[b].detach()) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("labels", "learnt"), [(3, 0), (40, 0), (5, 5), (40, 30)])
def test_likeness_to_remembered_anomalies_takes_half_of_what_stage_2_would_add(
    labels: int, learnt: int
) -> None:
    features, usual = images(), held_out()
    detector, remembered = remembering(torch.randn(50, 7), torch.randn(5, 7) * 3)
    detector.labels.fill_(labels)
    detector.learnt.fill_(learnt)
    memory = detector.mahalanobis
    assert memory is not None
    likeness = memory.likeness(usual.pooled).tolist()
    without = detector_of()
    without.load_state_dict(detector.state_dict())
    without.remember(remembered._replace(anomalous=remembered.anomalous[:0]))
    told = [(d1 + 2 * d2) / 3 for d1, d2 in detector.heads(usual.pooled).tolist()]
    weight = (labels - learnt) / (labels - learnt + 30)
    with torch.no_grad():
        for b, (score, alone) in enumerate(
            zip(detector(features).tolist(), without(features).tolist(), strict=True)
        ):
            d1, d2 = detector.heads(features.pooled)[b].tolist()
            by_heads = ((d1 + 2 * d2) / 3 - statistics.fmean(told)) / statistics.stdev(told)
            like = float(memory.likeness(features.pooled)[b])
            like = (like - statistics.fmean(likeness)) / statistics.stdev(likeness)
            expected = alone - weight / 2 * 2 * math.log1p(math.exp(2 * by_heads - 2))
            expected += labels / (labels + 30) / 2 * 2 * math.log1p(math.exp(2 * like - 2))
            assert score == pytest.approx(expected, abs=1e-3)


def test_with_no_neighbours_labels_count_by_heads_alone() -> None:
    normals, features = torch.randn(50, 7), images()
    alone = Scorer(Heads((3, 4), hidden=5), LAMBDAS, 30.0, mahalanobis=True, neighbours=0).eval()
    alone.fit_normals(
        normals, held_out(), RememberedImages(normals, normals[:0], torch.randn(5, 7))
    )
    alone.fit_heads(held_out())
    alone.labels.fill_(5)
    with torch.no_grad():
        z = alone.stage2_units(fuse(alone.heads(features.pooled), LAMBDAS))
        expected = alone.one_class(features) + 5 / 35 * 2 * torch.nn.functional.softplus(2 * z - 2)
        torch.testing.assert_close(alone(features), expected)


def test_a_held_out_normal_is_scored_by_what_the_other_scorer_remembers() -> None:
    usual, normals = held_out(), torch.randn(50, 7)
    like = usual.pooled[:1]
    detector, _ = remembering(normals, torch.cat([like, like]))
    other, _ = remembering(normals, torch.cat([-like, -like]))
    group = torch.arange(len(usual))
    with torch.no_grad():
        own = detector.of_held_out(usual, group, detector)
        without = detector.of_held_out(usual, group, other)
    assert float(own[0]) > float(without[0]) + 0.1


@given(
    labels=st.integers(1, 10_000),
    learnt=st.floats(0, 1),
    evidence=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=2),
    pooled=st.lists(st.floats(-1e4, 1e4), min_size=7, max_size=7),
)
@settings(deadline=None, max_examples=40)
def test_no_image_scores_lower_for_labelled_anomalies(
    labels: int, learnt: float, evidence: list[float], pooled: list[float]
) -> None:
    """However unlike them it is, whichever stage learnt from them, and whatever is remembered."""
    detector, _ = remembering(torch.randn(50, 7), torch.randn(5, 7) * 3)
    image = Features(
        torch.zeros(1, 2), torch.tensor([pooled]), torch.tensor([evidence]), torch.zeros(1)
    )
    without = float(detector.one_class(image))
    detector.labels.fill_(labels)
    detector.learnt.fill_(int(learnt * labels))
    assert float(detector(image).detach()) >= without


def test_what_is_unlike_the_labelled_anomalies_keeps_its_one_class_score() -> None:
    """Usual normals are raised by little more than a quarter of a deviation."""
    detector = detector_of()
    detector.labels.fill_(1000)
    detector.learnt.fill_(1000)
    mean, std = float(detector.evidence_units.mean), float(detector.evidence_units.std)
    pooled = torch.randn(1, 7).expand(2, -1)
    evidence = torch.tensor([[mean - 9 * std] * 2, [mean] * 2])
    both = Features(torch.zeros(2, 2), pooled, evidence, torch.zeros(2))
    unlike, usual = detector(both).tolist()
    one_class = float(detector.one_class(both.at(torch.tensor([0]))))
    assert unlike == pytest.approx(one_class, abs=1e-3)
    assert one_class < usual < one_class + 0.26


@pytest.mark.parametrize("group", [range(20), [0, 0, 1, 1, 1, 2, 3, 3, 4, 4] * 2])
def test_held_out_normals_score_as_if_they_were_new(group: Sequence[int]) -> None:
    """Each by what labels add in units of the others, brought to the one-class score of all."""
    detector, usual = detector_of(), held_out()
    detector.labels.fill_(30)
    detector.learnt.fill_(10)
    found = detector.of_held_out(usual, torch.tensor(group), detector)
    for b in range(20):
        others = usual.at(torch.tensor([other != group[b] for other in group]))
        again = copy.deepcopy(detector)
        assert again.mahalanobis is not None
        again.one_class_units.fit(again.mahalanobis(others.pooled))
        again.evidence_units.fit(fuse(others.evidence, LAMBDAS))
        again.fit_heads(others)
        one = usual.at(torch.tensor([b]))
        distance = float(
            again(one).detach() * again.one_class_units.std + again.one_class_units.mean
        )
        expected = (distance - float(detector.one_class_units.mean)) / float(
            detector.one_class_units.std
        )
        assert float(found[b]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("count", "labels"), [(19, 10), (19, 50), (60, 50)])
def test_promised_rate_holds_though_held_out_normals_give_the_units(
    count: int, labels: int
) -> None:
    """Over 300 draws of the held-out normals, of values that vary much from draw to draw.

    Scored as any image, they would set thresholds that 6.2, 5.6 and 5.3% of normals pass.
    """
    detector = detector_of()
    assert detector.mahalanobis is not None
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn(500, 7, generator=generator) ** 3
    normals = Features(torch.zeros(500, 2), pooled, torch.zeros(500, 2), torch.zeros(500))
    detector.labels.fill_(labels)
    alarms = []
    for _ in range(300):
        order = torch.randperm(500, generator=generator)
        drawn, new = normals.at(order[:count]), normals.at(order[count:])
        detector.one_class_units.fit(detector.mahalanobis(drawn.pooled))
        detector.fit_heads(drawn)
        calibration = Calibration.of(detector.of_held_out(drawn, torch.arange(count), detector))
        above = detector(new).detach().numpy() > threshold(calibration, 0.05)
        alarms.append(above.mean())
    assert 0.03 < np.mean(alarms) < 0.055


@pytest.mark.parametrize("prior", [30.0, None])
def test_held_out_normals_of_one_group_or_without_labels_score_as_any_image(
    prior: float | None,
) -> None:
    detector, usual = detector_of(prior), held_out()
    assert torch.equal(detector.of_held_out(usual, torch.arange(20), detector), detector(usual))
    detector.labels.fill_(7)
    found = detector.of_held_out(usual, torch.zeros(20).long(), detector)
    torch.testing.assert_close(found, detector(usual).detach())


def test_normals_that_join_are_usual() -> None:
    generator = torch.Generator().manual_seed(3)
    pooled = torch.randn(60, 7, generator=generator)
    odd = Features(torch.rand(3, 2), pooled[:3] + 9, torch.zeros(3, 2), torch.zeros(3))
    detector = detector_of()
    detector.fit_normals(pooled, held_out())
    before = detector.one_class(odd)
    detector.fit_normals(torch.cat([pooled, odd.pooled]), held_out())
    assert (detector.one_class(odd) < before / 2).all()


def test_without_a_prior_the_heads_alone_are_the_score() -> None:
    detector, features = detector_of(None), images()
    detector.labels.fill_(3)
    torch.testing.assert_close(detector(features), fuse(detector.heads(features.pooled), LAMBDAS))


def remembering(normals: Tensor, anomalous: Tensor) -> tuple[Scorer, RememberedImages]:
    """A scorer that has seen normals and anomalies, and what it recalls of them."""
    remembered = RememberedImages(normals, normals[:0], anomalous)
    detector = detector_of()
    detector.fit_normals(normals, held_out(), remembered)
    detector.labels.fill_(len(anomalous))
    return detector, remembered


def test_state_and_remembered_images_are_all_that_the_score_needs() -> None:
    features = images()
    detector, remembered = remembering(torch.randn(50, 7), torch.randn(7, 7) + 2)
    copy = Scorer(Heads((3, 4), hidden=5), LAMBDAS, 30.0, mahalanobis=True).eval()
    copy.load_state_dict(detector.state_dict())
    copy.remember(remembered)
    assert torch.equal(copy(features), detector(features))


def test_what_is_like_a_labelled_anomaly_rises_and_nothing_falls() -> None:
    normals, features = torch.randn(50, 7), images()
    like = features.pooled[:1]
    # Of both as many labels are told, by the same heads; they differ in what they are like.
    alike, unlike = (remembering(normals, side.repeat(5, 1))[0] for side in (like, -like))
    with torch.no_grad():
        assert float(alike(features)[0]) > float(unlike(features)[0]) + 0.1
    for detector in (alike, unlike):
        assert (detector(features) >= detector.one_class(features)).all()


def test_held_out_normals_that_are_labelled_do_not_explain_themselves() -> None:
    detector, usual, normals = detector_of(), held_out(), torch.randn(50, 7)
    detector.fit_normals(
        torch.cat([normals, usual.pooled]),
        usual,
        RememberedImages(normals, normals[:0], normals[:0]),
    )
    assert detector.mahalanobis is not None
    assert (detector.mahalanobis(usual.pooled) > 0.1).all()
