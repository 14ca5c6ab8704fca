import math

import pytest
import torch

from anomem.network.heads import Detector, Heads, fuse
from anomem.network.measured import Measured

LAMBDAS = (1.0, 2.0)


def detector_of(prior: float | None = 30.0, mahalanobis: bool = True) -> Detector:
    torch.manual_seed(1)
    detector = Detector(Heads((3, 4), hidden=5), LAMBDAS, prior, mahalanobis=mahalanobis)
    detector.heads.mean.normal_()
    detector.heads.std.uniform_(0.5, 2)
    detector.fit_normals(Measured(torch.rand(50, 2) + 1, torch.randn(50, 7), torch.zeros(50, 2)))
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
    detector.fit_normals(normals)
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
    detector.fit_normals(Measured(scores[0], seen, none))
    score = detector.one_class(Measured(scores[1], unseen, none))
    assert abs(float(score.mean())) < 0.6


def test_normals_that_are_all_alike_give_finite_scores() -> None:
    detector = detector_of()
    detector.fit_normals(Measured(torch.ones(20, 2), torch.ones(20, 7), torch.zeros(20, 2)))
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


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("labels", "learnt"), [(5, 5), (40, 30), (3, 10)])
def test_labels_that_stage_1_learnt_from_add_its_evidence(
    labels: int, learnt: int, frozen: bool
) -> None:
    """Stage 2 speaks for those that the encoder has not learnt from: for all, if it is frozen."""
    detector, measured = detector_of(), images()
    detector.frozen = frozen
    detector.labels.fill_(labels)
    detector.learnt.fill_(learnt)
    known = min(labels, learnt)
    since = labels if frozen else labels - known
    for b in range(6):
        d1, d2 = detector.heads(measured.pooled)[b].tolist()
        e1, e2 = measured.evidence[b].tolist()
        expected = float(detector.one_class(measured)[b])
        expected += known / (known + 30) * (e1 + 2 * e2) / 3
        expected += since / (since + 30) * 2 * math.log1p(math.exp((d1 + 2 * d2) / 3 + 3))
        assert float(detector(measured)[b].detach()) == pytest.approx(expected, abs=1e-4)


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
