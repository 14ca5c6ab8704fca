import copy

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import AnoMem
from anomem.detector.train_scorer import unseen_scores
from anomem.images.image_set import tensor_of
from anomem.images.resize import batch_to_shape
from anomem.model.features import extract

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


def test_labelling_normals_leaves_how_much_their_directions_count(
    model: AnoMem, digits: Digits
) -> None:
    """All of them, the held-out ones too, which join what the distance is from."""
    assert model.scorer_.mahalanobis is not None
    power = float(model.scorer_.mahalanobis.power)
    model.adapt(digits["train"], [0] * len(digits["train"]))
    assert float(model.scorer_.mahalanobis.power) == power > 0


def test_a_training_image_labelled_anomalous_is_no_normal_any_more(
    model: AnoMem, digits: Digits
) -> None:
    one = next(x for x in digits["train"] if _remembered(model, x))
    known = len(model.scorer_.mahalanobis.directions)  # type: ignore[union-attr]
    model.adapt(one[None], [1])
    assert len(model.scorer_.mahalanobis.directions) == known - 1  # type: ignore[union-attr]


def _remembered(model: AnoMem, image: npt.NDArray[np.uint8]) -> bool:
    """Whether an image is among the normals that the score recalls, by what is pooled of it."""
    frame = tensor_of(batch_to_shape(image[None, ..., None], model.framing_.shape))
    pooled = extract(model.network_, frame).pooled
    return bool((model.bank_.remembered_images().trained == pooled).all(dim=1).any())
