import pytest
import torch
from torch import Tensor, nn

from anomem.config import Stage2Choices
from anomem.model.features import Features
from anomem.model.scorer import Heads, Scorer, fuse
from anomem.training.losses import double_hinge
from anomem.training.stage2 import train_stage2

WIDTHS = (4, 6)
CHOICES = Stage2Choices(hidden=16)
LAMBDAS = (1.0, 2.0)


def heads_of(hidden: int | None = CHOICES.hidden) -> Heads:
    torch.manual_seed(0)
    return Heads(WIDTHS, hidden)


def linear(heads: Heads) -> list[nn.Linear]:
    return [head for head in heads.scales if isinstance(head, nn.Linear)]


def deviations(count: int, shift: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, sum(WIDTHS), generator=generator) * 0.1 + shift


NORMALS, ANOMALIES = deviations(200, 0.0, 1), deviations(20, 0.2, 2)


def mean_hinge(heads: Heads, normals: Tensor, anomalies: Tensor) -> float:
    with torch.no_grad():
        parts = [
            double_hinge(heads(group), torch.full((len(group),), t), CHOICES.margin).mean()
            for group, t in ((normals, 0), (anomalies, 1))
        ]
    return float(sum(parts)) / 2


def test_hinge_is_reduced_on_seen_and_unseen_images() -> None:
    heads = heads_of()
    untrained = heads_of()
    train_stage2(heads, NORMALS, ANOMALIES, LAMBDAS, CHOICES)
    untrained.load_state_dict({**untrained.state_dict(), "mean": heads.mean, "std": heads.std})
    unseen = deviations(200, 0.0, 11), deviations(50, 0.2, 12)
    for normals, anomalies in ((NORMALS, ANOMALIES), unseen):
        assert mean_hinge(heads, normals, anomalies) < 0.4 * mean_hinge(
            untrained, normals, anomalies
        )
    assert not heads.training


def test_distance_ranks_anomalies_above_normals_at_every_scale() -> None:
    heads = heads_of()
    train_stage2(heads, NORMALS, ANOMALIES, LAMBDAS, CHOICES)
    with torch.no_grad():
        normal = heads(deviations(100, 0.0, 21))
        anomalous = heads(deviations(100, 0.2, 22))
    assert (anomalous.median(dim=0).values > normal.quantile(0.95, dim=0)).all()


def test_normals_alone_set_the_standard() -> None:
    heads = heads_of()
    train_stage2(heads, NORMALS, ANOMALIES, LAMBDAS, CHOICES)
    torch.testing.assert_close(heads.mean, NORMALS.mean(dim=0))
    torch.testing.assert_close(heads.std, NORMALS.std(dim=0))


def weights(normals: Tensor, anomalies: Tensor, hidden: int | None = 16) -> dict[str, Tensor]:
    heads = heads_of(hidden)
    train_stage2(heads, normals, anomalies, LAMBDAS, Stage2Choices(hidden=hidden, steps=40))
    return dict(heads.state_dict())


@pytest.mark.parametrize("hidden", [16, None])
def test_order_within_a_group_does_not_count(hidden: int | None) -> None:
    plain = weights(NORMALS, ANOMALIES, hidden)
    mixed = weights(NORMALS.flip(0), ANOMALIES.flip(0), hidden)
    torch.testing.assert_close(plain, mixed, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("hidden", [16, None])
def test_groups_weigh_alike_however_many_they_are(hidden: int | None) -> None:
    plain = weights(NORMALS, ANOMALIES, hidden)
    repeated = weights(NORMALS, ANOMALIES.repeat(5, 1), hidden)
    torch.testing.assert_close(plain, repeated, atol=1e-4, rtol=1e-3)


def test_one_step_follows_the_mean_of_the_groups() -> None:
    rate = 0.01
    choices = Stage2Choices(hidden=16, steps=1, learning_rate=rate, weight_decay=0.0)
    trained, expected = heads_of(), heads_of()
    train_stage2(trained, NORMALS, ANOMALIES, LAMBDAS, choices)
    expected.mean.copy_(NORMALS.mean(dim=0))
    expected.std.copy_(NORMALS.std(dim=0))
    loss = torch.zeros(())
    for group, t in ((NORMALS, 0), (ANOMALIES, 1)):
        for image in group:
            for d in expected(image.unsqueeze(0))[0]:
                hinge = torch.relu(2.0 - d) if t else torch.relu(d - 0.5)
                loss = loss + hinge / (2 * len(group) * len(WIDTHS))
    loss.backward()
    with torch.no_grad():
        for parameter in expected.parameters():
            assert parameter.grad is not None
            parameter.sub_(rate * 1.9 * parameter.grad)
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("hidden", [16, None])
def test_constant_channels_train_finitely(hidden: int | None) -> None:
    normals = NORMALS.clone()
    normals[:, 0] = 0
    found = weights(normals, ANOMALIES, hidden)
    assert all(value.isfinite().all() for value in found.values())


def test_fused_linear_heads_are_the_log_odds_of_a_logistic_regression() -> None:
    """At the minimum of the penalised mean loss its gradient, taken by a slow loop, is zero."""
    heads = heads_of(None)
    train_stage2(heads, NORMALS, ANOMALIES, LAMBDAS, Stage2Choices())
    pairs = zip(LAMBDAS, linear(heads), strict=True)
    weight = torch.cat([part * head.weight.detach()[0] / 3 for part, head in pairs])
    gradient = weight / 10
    for group, t in ((NORMALS, 0), (ANOMALIES, 1)):
        for image in group:
            odds = fuse(heads(image[None]), LAMBDAS).detach()
            wrong = torch.sigmoid(odds) - t
            gradient = gradient + wrong * (image - heads.mean) / heads.std / len(group)
    assert gradient.abs().max() < 1e-3 * weight.abs().max()


def test_detector_without_labels_returns_exactly_the_one_class_score() -> None:
    heads = heads_of()
    train_stage2(heads, NORMALS, ANOMALIES, LAMBDAS, CHOICES)
    detector = Scorer(heads, (1.0, 2.0), prior=30.0).eval()
    none = torch.zeros(len(NORMALS), 2)
    normals = Features(torch.rand(len(NORMALS), 2), NORMALS, none, none[:, 0])
    detector.fit_normals(NORMALS, normals)
    assert torch.equal(detector(normals), detector.one_class(normals))
    detector.labels.fill_(20)
    assert not torch.equal(detector(normals), detector.one_class(normals))
