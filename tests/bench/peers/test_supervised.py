import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomem import Config
from anomem.images.image_set import to_float
from anomem_bench.peers.supervised import Supervised, balanced_cross_entropy

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.mark.parametrize("label", [[0, 1], [0, 0, 0, 0, 1], [1, 1, 0, 1, 1]])
def test_balanced_cross_entropy(label: list[int]) -> None:
    logit = torch.randn(len(label), generator=torch.Generator().manual_seed(0)) * 3
    groups: dict[int, list[float]] = {0: [], 1: []}
    for value, kind in zip(logit.tolist(), label, strict=True):
        anomalous = 1 / (1 + math.exp(-value))
        groups[kind].append(-math.log(anomalous if kind else 1 - anomalous))
    expected = sum(sum(losses) / len(losses) for losses in groups.values()) / 2
    loss = balanced_cross_entropy(logit, torch.tensor(label))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_both_groups_weigh_the_same() -> None:
    logit, label = torch.zeros(9, requires_grad=True), torch.tensor([0] * 8 + [1])
    balanced_cross_entropy(logit, label).backward()
    assert logit.grad is not None
    assert float(logit.grad[:8].sum()) == pytest.approx(0.25)
    assert float(logit.grad[8]) == pytest.approx(-0.25)


def test_score_is_the_logit(hasty: Config, digits: Digits) -> None:
    model = Supervised(hasty, device="cpu")
    model.fit(digits["train"], anomalies=digits["anomalous"][:5])
    images = to_float(torch.from_numpy(digits["normal"][:4])[:, None])
    with torch.inference_mode():
        score, features = model.score(images)["supervised"], model.network_(images)
        linear = model.head("anomalous")
        assert isinstance(linear, torch.nn.Linear)
        for b in range(4):
            expected = float(linear.weight[0] @ features[b] + linear.bias[0])
            assert float(score[b]) == pytest.approx(expected, abs=1e-5)


def test_labelled_digits_are_learnt(tiny: Config, digits: Digits) -> None:
    labelled, unseen = digits["anomalous"][:30], digits["anomalous"][30:]
    model = Supervised(tiny, device="cpu").fit(digits["train"], anomalies=labelled)
    score = model.decision_function(np.concatenate([digits["normal"], unseen]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(unseen)])
    assert roc_auc_score(label, score) > 0.9
