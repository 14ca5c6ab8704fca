import math
import statistics

import pytest
import torch

from anomem.network.heads import Detector, Heads, fuse
from anomem.network.measured import Measured

LAMBDAS = (1.0, 2.0)


def none_of(measured: Measured) -> Measured:
    return measured.at(torch.zeros(0, dtype=torch.int64))


def detector_of(prior: float | None = 30.0, mahalanobis: bool = True) -> Detector:
    torch.manual_seed(1)
    detector = Detector(Heads((3, 4), hidden=5), LAMBDAS, prior, mahalanobis=mahalanobis)
    detector.heads.mean.normal_()
    detector.heads.std.uniform_(0.5, 2)
    normals = Measured(torch.rand(50, 2) + 1, torch.randn(50, 7), torch.randn(50, 2) * 3 - 2)
    detector.fit_normals(normals, normals.at(torch.arange(20)), none_of(normals))
    return detector.eval()


def images() -> Measured:
    generator = torch.Generator().manual_seed(2)
    return Measured(
        torch.rand(6, 2, generator=generator),
        torch.randn(6, 7, generator=generator),
        torch.randn(6, 2, generator=generator),
    )


def test_fusion_is_the_weighted_mean() -> None:
    scores = torch.randn(5, 3)
    expected = [(1 * a + 2 * b + 4 * c) / 7 for a, b, c in scores.tolist()]
    torch.testing.assert_close(fuse(scores, (1.0, 2.0, 4.0)), torch.tensor(expected))
    torch.testing.assert_close(fuse(scores[:, :1], (3.0,)), scores[:, 0])


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


def test_float16_measures_are_read_in_float32() -> None:
    heads, pooled = detector_of().heads, images().pooled
    half = pooled.half()
    assert heads(half).dtype == torch.float32
    torch.testing.assert_close(heads(half), heads(half.float()))


def test_one_class_score_is_in_standard_deviations_of_normals() -> None:
    detector = detector_of(mahalanobis=False)
    normals = Measured(torch.rand(200, 2) * 3 + 4, torch.randn(200, 7), torch.zeros(200, 2))
    detector.fit_normals(normals, normals, none_of(normals))
    score = detector.one_class(normals)
    assert float(score.mean()) == pytest.approx(0, abs=1e-4)
    assert float(score.std()) == pytest.approx(1, rel=1e-4)


def test_mahalanobis_distance_takes_the_place_of_the_norms() -> None:
    detector, measured = detector_of(), images()
    assert detector.mahalanobis is not None
    for b, distance in enumerate(detector.mahalanobis(measured.pooled).tolist()):
        expected = (distance - float(detector.mean)) / float(detector.std)
        assert float(detector.one_class(measured)[b]) == pytest.approx(expected, abs=1e-4)


def test_unseen_normals_have_a_score_near_zero_though_few_were_seen() -> None:
    detector = detector_of()
    generator = torch.Generator().manual_seed(4)
    seen, unseen = torch.randn(2, 40, 7, generator=generator)
    scores, none = torch.rand(2, 40, 2, generator=generator), torch.zeros(40, 2)
    normals = Measured(scores[0], seen, none)
    detector.fit_normals(normals, normals, none_of(normals))
    score = detector.one_class(Measured(scores[1], unseen, none))
    assert abs(float(score.mean())) < 0.6


def test_normals_that_are_all_alike_give_finite_scores() -> None:
    detector = detector_of()
    alike = Measured(torch.ones(20, 2), torch.ones(20, 7), torch.zeros(20, 2))
    detector.fit_normals(alike, alike, none_of(alike))
    others = Measured(torch.rand(4, 2), torch.rand(4, 7), torch.zeros(4, 2))
    assert detector.one_class(others).isfinite().all()


@pytest.mark.parametrize("prior", [30.0, None])
def test_without_labels_the_score_is_exactly_the_one_class_score(prior: float | None) -> None:
    detector, measured = detector_of(prior), images()
    assert torch.equal(detector(measured), detector.one_class(measured))


@pytest.mark.parametrize("labels", [1, 10, 30, 1000])
def test_heads_gain_weight_with_labels(labels: int) -> None:
    detector, measured = detector_of(), images()
    detector.labels.fill_(labels)
    for b in range(6):
        d1, d2 = detector.heads(measured.pooled)[b].tolist()
        prior = float(detector.one_class(measured)[b])
        log_odds = (d1 + 2 * d2) / 3
        expected = prior + labels / (labels + 30) * 2 * math.log1p(math.exp(log_odds + 3))
        assert float(detector(measured)[b].detach()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("labels", "learnt"), [(5, 5), (40, 30), (10, 0)])
def test_labels_that_stage_1_learnt_from_add_its_evidence(labels: int, learnt: int) -> None:
    """In standard deviations of held-out normals; stage 2 speaks for those labelled since."""
    detector, measured = detector_of(), images()
    held_out = Measured(torch.rand(9, 2), torch.randn(9, 7), torch.randn(9, 2) * 8 - 5)
    normals = Measured(torch.rand(50, 2), torch.randn(50, 7), torch.zeros(50, 2))
    detector.fit_normals(normals, held_out, none_of(normals))
    usual = [(e1 + 2 * e2) / 3 for e1, e2 in held_out.evidence.tolist()]
    detector.labels.fill_(labels)
    detector.learnt.fill_(learnt)
    since = labels - learnt
    for b in range(6):
        d1, d2 = detector.heads(measured.pooled)[b].tolist()
        e1, e2 = measured.evidence[b].tolist()
        expected = float(detector.one_class(measured)[b])
        evidence = ((e1 + 2 * e2) / 3 - statistics.fmean(usual)) / statistics.stdev(usual)
        expected += learnt / (learnt + 30) * evidence
        expected += since / (since + 30) * 2 * math.log1p(math.exp((d1 + 2 * d2) / 3 + 3))
        assert float(detector(measured)[b].detach()) == pytest.approx(expected, abs=1e-4)


def test_labelled_normals_join_what_is_usual() -> None:
    generator = torch.Generator().manual_seed(3)
    pooled = torch.randn(60, 7, generator=generator)
    normals = Measured(torch.rand(60, 2), pooled, torch.zeros(60, 2))
    odd = Measured(torch.rand(3, 2), pooled[:3] + 9, torch.zeros(3, 2))
    detector = detector_of()
    detector.fit_normals(normals, normals, none_of(normals))
    before = detector.one_class(odd)
    detector.fit_normals(normals, normals, odd)
    assert (detector.one_class(odd) < before / 2).all()


def test_without_a_prior_the_heads_alone_are_the_score() -> None:
    detector, measured = detector_of(None), images()
    detector.labels.fill_(3)
    torch.testing.assert_close(detector(measured), fuse(detector.heads(measured.pooled), LAMBDAS))


def test_state_holds_all_that_the_score_needs() -> None:
    detector, measured = detector_of(), images()
    detector.labels.fill_(7)
    copy = Detector(Heads((3, 4), hidden=5), LAMBDAS, 30.0, mahalanobis=True).eval()
    copy.load_state_dict(detector.state_dict())
    assert torch.equal(copy(measured), detector(measured))
