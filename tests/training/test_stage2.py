import pytest
import torch
from torch import Tensor

from anomem.config import Stage2Choices
from anomem.network.heads import Detector, Heads
from anomem.network.measured import Measured
from anomem.training.losses import double_hinge
from anomem.training.stage2 import train_stage2

WIDTHS = (4, 6)
CHOICES = Stage2Choices(hidden=16)
NOTHING = torch.zeros(0, sum(WIDTHS))


def heads_of() -> Heads:
    torch.manual_seed(0)
    return Heads(WIDTHS, CHOICES.hidden)


def deviations(count: int, shift: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, sum(WIDTHS), generator=generator) * 0.1 + shift


NORMALS, ANOMALIES, PSEUDO = (
    deviations(200, 0.0, 1), deviations(20, 0.2, 2), deviations(100, -0.2, 3)
)  # fmt: skip


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
    train_stage2(heads, NORMALS, ANOMALIES, NOTHING, CHOICES)
    untrained.load_state_dict({**untrained.state_dict(), "mean": heads.mean, "std": heads.std})
    unseen = deviations(200, 0.0, 11), deviations(50, 0.2, 12)
    for normals, anomalies in ((NORMALS, ANOMALIES), unseen):
        assert mean_hinge(heads, normals, anomalies) < 0.4 * mean_hinge(
            untrained, normals, anomalies
        )
    assert not heads.training


def test_distance_ranks_anomalies_above_normals_at_every_scale() -> None:
    heads = heads_of()
    train_stage2(heads, NORMALS, ANOMALIES, PSEUDO, CHOICES)
    with torch.no_grad():
        normal = heads(deviations(100, 0.0, 21))
        anomalous = heads(deviations(100, 0.2, 22))
        altered = heads(deviations(100, -0.2, 23))
    assert (anomalous.median(dim=0).values > normal.quantile(0.95, dim=0)).all()
    assert (altered.median(dim=0).values > normal.quantile(0.95, dim=0)).all()


def test_normals_alone_set_the_standard() -> None:
    heads = heads_of()
    train_stage2(heads, NORMALS, ANOMALIES, PSEUDO, CHOICES)
    torch.testing.assert_close(heads.mean, NORMALS.mean(dim=0))
    torch.testing.assert_close(heads.std, NORMALS.std(dim=0))


def weights(normals: Tensor, anomalies: Tensor, pseudo: Tensor) -> dict[str, Tensor]:
    heads = heads_of()
    train_stage2(heads, normals, anomalies, pseudo, Stage2Choices(hidden=16, steps=40))
    return dict(heads.state_dict())


def test_order_within_a_group_does_not_count() -> None:
    plain = weights(NORMALS, ANOMALIES, PSEUDO)
    mixed = weights(NORMALS.flip(0), ANOMALIES.flip(0), PSEUDO.flip(0))
    torch.testing.assert_close(plain, mixed, atol=1e-4, rtol=1e-3)


def test_groups_weigh_alike_however_many_they_are() -> None:
    plain = weights(NORMALS, ANOMALIES, PSEUDO)
    repeated = weights(NORMALS, ANOMALIES.repeat(5, 1), PSEUDO.repeat(3, 1))
    torch.testing.assert_close(plain, repeated, atol=1e-4, rtol=1e-3)


def test_one_step_follows_the_mean_of_the_groups() -> None:
    rate = 0.01
    choices = Stage2Choices(hidden=16, steps=1, learning_rate=rate, weight_decay=0.0)
    trained, expected = heads_of(), heads_of()
    train_stage2(trained, NORMALS, ANOMALIES, PSEUDO, choices)
    expected.mean.copy_(NORMALS.mean(dim=0))
    expected.std.copy_(NORMALS.std(dim=0))
    loss = torch.zeros(())
    for group, t in ((NORMALS, 0), (ANOMALIES, 1), (PSEUDO, 1)):
        for image in group:
            for d in expected(image.unsqueeze(0))[0]:
                hinge = torch.relu(2.0 - d) if t else torch.relu(d - 0.5)
                loss = loss + hinge / (3 * len(group) * len(WIDTHS))
    loss.backward()
    with torch.no_grad():
        for parameter in expected.parameters():
            assert parameter.grad is not None
            parameter.sub_(rate * 1.9 * parameter.grad)
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kept", ["anomalies", "pseudo"])
def test_either_kind_of_anomaly_is_enough(kept: str) -> None:
    groups = (ANOMALIES, NOTHING) if kept == "anomalies" else (NOTHING, ANOMALIES)
    torch.testing.assert_close(
        weights(NORMALS, groups[0], groups[1]), weights(NORMALS, ANOMALIES, NOTHING)
    )


def test_half_precision_and_constant_channels_train_finitely() -> None:
    normals = NORMALS.clone()
    normals[:, 0] = 0
    found = weights(normals.half(), ANOMALIES.half(), PSEUDO.half())
    assert all(value.isfinite().all() for value in found.values())


def test_detector_without_labels_returns_exactly_the_one_class_score() -> None:
    heads = heads_of()
    train_stage2(heads, NORMALS, ANOMALIES, PSEUDO, CHOICES)
    detector = Detector(heads, (1.0, 2.0), prior=30.0).eval()
    normals = Measured(torch.rand(len(NORMALS), 2), NORMALS, torch.zeros(len(NORMALS), 2))
    detector.fit_normals(normals)
    assert torch.equal(detector(normals), detector.one_class(normals))
    detector.labels.fill_(20)
    assert not torch.equal(detector(normals), detector.one_class(normals))
