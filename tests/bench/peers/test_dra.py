import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomem import Config
from anomem.config.mapping import changed
from anomem_bench.peers.dra import DRA, TopPlaces, deviation_loss

Digits = dict[str, npt.NDArray[np.uint8]]


def slow_loss(scores: list[float], high: list[bool]) -> float:
    """Score by score, the mean of the two groups' means."""
    groups: dict[bool, list[float]] = {}
    for score, wanted in zip(scores, high, strict=True):
        missed = max(0.0, 5 - score) if wanted else abs(score)
        groups.setdefault(wanted, []).append(missed)
    means = [sum(group) / len(group) for group in groups.values()]
    return sum(means) / len(means)


@pytest.mark.parametrize("high", [[True, False, False, True, False], [False] * 5, [True] * 5])
def test_loss_keeps_low_scores_at_0_and_brings_the_others_to_5(high: list[bool]) -> None:
    scores = torch.tensor([0.5, 2.0, -1.0, 7.0, 0.0], requires_grad=True)
    loss = deviation_loss(scores, torch.tensor(high))
    assert loss.item() == pytest.approx(slow_loss(scores.tolist(), high))
    loss.backward()
    assert scores.grad is not None
    assert (scores.grad[3] == 0) == high[3]  # far enough up


def test_an_image_scores_by_the_tenth_of_its_places_that_are_highest() -> None:
    head, maps = TopPlaces(3), torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    weight, bias = head.place.weight.detach().flatten().tolist(), head.place.bias
    assert bias is not None
    for image, score in zip(maps, head(maps).tolist(), strict=True):
        places = [
            abs(
                sum(w * float(v) for w, v in zip(weight, image[:, y, x], strict=True)) + bias.item()
            )
            for y in range(5)
            for x in range(7)
        ]
        assert score == pytest.approx(sum(sorted(places)[-3:]) / 3, rel=1e-5)


def test_the_score_is_three_abnormalities_less_normality_at_two_sizes(
    hasty: Config, digits: Digits
) -> None:
    model = DRA(hasty, device="cpu").fit(digits["train"], anomalies=digits["anomalous"][:3])
    images = torch.rand(2, model.shape_.channels, model.shape_.height, model.shape_.width)
    heads, expected = model.network_.heads, np.zeros(2)
    with torch.no_grad():
        for own, reference in zip(model.maps(images), model.references_, strict=True):
            one = heads["seen"](own) + heads["pseudo"](own) + heads["residual"](reference - own)
            expected += (one - heads["normal"](own.mean((2, 3)))[:, 0].abs()).numpy() / 2
        np.testing.assert_allclose(model.score(images)["dra"].numpy(), expected, atol=1e-5)


def test_the_encoder_stays_and_heads_learn(hasty: Config, digits: Digits) -> None:
    still, model = (
        DRA(changed(hasty, {"stage1__learning_rate": rate}), device="cpu").fit(
            digits["train"], anomalies=digits["anomalous"][:3]
        )
        for rate in (1e-12, 0.1)
    )
    before, after = (each.network_.state_dict() for each in (still, model))
    moved = {name for name in after if not torch.allclose(before[name], after[name], atol=1e-8)}
    assert {name.partition(".")[0] for name in moved} == {"heads"}
    assert {name.split(".")[1] for name in moved} == {"normal", "seen", "pseudo", "residual"}


def test_without_labels_it_does_not_run(hasty: Config, digits: Digits) -> None:
    with pytest.raises(ValueError, match=r"^DRA learns from labelled anomalies; give some\.$"):
        DRA(hasty, device="cpu").fit(digits["train"])


def test_other_digits_score_higher(tiny: Config, digits: Digits) -> None:
    faster = changed(tiny, {"stage1__learning_rate": 1.0})
    model = DRA(faster, device="cpu").fit(digits["train"], anomalies=digits["anomalous"][:10])
    normal, other = map(model.decision_function, (digits["normal"], digits["anomalous"][10:]))
    label = np.repeat([0, 1], [len(normal), len(other)])
    assert roc_auc_score(label, np.concatenate([normal, other])) > 0.8
