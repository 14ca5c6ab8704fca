import copy

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import AnoMem
from anomem.detector.train_scorer import unseen_scores

Digits = dict[str, npt.NDArray[np.uint8]]


def test_with_few_labels_each_is_left_out_by_itself(model: AnoMem, digits: Digits) -> None:
    """Adapting to all others and then giving the heads their weight of all gives the same score."""
    anomalies = digits["anomalous"][:4]
    scores = unseen_scores(copy.deepcopy(model).adapt(anomalies, [1] * 4).detector())
    for left_out in range(4):
        others = copy.deepcopy(model).adapt(np.delete(anomalies, left_out, axis=0), [1] * 3)
        others.scorer_.labels.fill_(4)
        expected = others.decision_function(anomalies[left_out : left_out + 1])[0]
        assert scores[left_out] == pytest.approx(expected, abs=1e-4)


def test_unseen_anomalies_score_lower_than_those_learnt(model: AnoMem, digits: Digits) -> None:
    anomalies = digits["anomalous"][:30]
    model.adapt(anomalies, [1] * 30)
    assert unseen_scores(model.detector()).mean() < model.decision_function(anomalies).mean()


def test_a_single_anomaly_has_its_one_class_score(model: AnoMem, digits: Digits) -> None:
    one = digits["anomalous"][:1]
    expected = model.decision_function(one)
    np.testing.assert_allclose(unseen_scores(model.adapt(one, [1]).detector()), expected, atol=1e-5)


def test_without_labels_there_is_nothing_to_score(model: AnoMem) -> None:
    assert unseen_scores(model.detector()).shape == (0,)


def test_normals_stay_among_the_others(model: AnoMem, digits: Digits) -> None:
    model.adapt(np.concatenate([digits["normal"][:3], digits["anomalous"][:6]]), [0] * 3 + [1] * 6)
    assert len(unseen_scores(model.detector())) == 6
    assert torch.equal(model.bank_.labelled.label, torch.tensor([0] * 3 + [1] * 6))
