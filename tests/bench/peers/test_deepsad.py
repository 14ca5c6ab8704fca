from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomem import Config
from anomem.config import EncoderChoices, Stage1Choices
from anomem.images.image_set import to_float
from anomem.images.prepare import PreparedImages
from anomem.images.resize import ImageShape
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.deepsad import DeepSAD, Hypersphere, semi_supervised_loss

Digits = dict[str, npt.NDArray[np.uint8]]


def sphere_of(model: DeepSAD) -> Hypersphere:
    sphere = model.head("sphere")
    assert isinstance(sphere, Hypersphere)
    return sphere


@torch.inference_mode()
def test_hypersphere_measures_the_squared_distance_from_its_centre() -> None:
    sphere, features = Hypersphere(6), torch.rand(40, 6)
    sphere.centre_on(features)
    weight = sphere.linear.weight
    for row, squared in zip(features, sphere(features), strict=True):
        total = 0.0
        for unit in range(32):
            total += (float(weight[unit] @ row) - float(sphere.centre[unit])) ** 2
        assert float(squared) == pytest.approx(total, rel=1e-4)


@torch.inference_mode()
def test_centre_is_the_mean_with_no_coordinate_near_zero() -> None:
    sphere, features = Hypersphere(6), torch.rand(40, 6)
    sphere.centre_on(features)
    nudged = 0
    for unit in range(32):
        outputs = [float(sphere.linear.weight[unit] @ row) for row in features]
        mean = sum(outputs) / len(outputs)
        if abs(mean) < 0.1:
            nudged += 1
            mean = -0.1 if mean < 0 else 0.1
        assert float(sphere.centre[unit]) == pytest.approx(mean, abs=1e-5)
    assert 0 < nudged < 32


def test_head_has_no_bias() -> None:
    assert [name for name, _ in Hypersphere(6).named_parameters()] == ["linear.weight"]


@pytest.mark.parametrize("label", [[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 1]])
def test_loss_pulls_normals_and_pushes_anomalies(label: list[int]) -> None:
    squared = torch.tensor([0.5, 0.01, 3.0, 0.0])
    total = 0.0
    for value, kind in zip(squared.tolist(), label, strict=True):
        total += 1 / (value + 1e-6) if kind else value
    loss = semi_supervised_loss(squared, torch.tensor(label))
    assert float(loss) == pytest.approx(total / 4, rel=1e-4)


def test_centre_is_that_of_the_initial_network_and_stays(hasty: Config, digits: Digits) -> None:
    still = replace(hasty, stage1=Stage1Choices(min_steps=2, max_steps=2, batch=16))
    model = DeepSAD(still, device="cpu")
    normals = PreparedImages(torch.from_numpy(digits["train"])[:, None])
    centres: list[Tensor] = []
    for _ in model.begin(TrainingSet(normals, None, ImageShape(1, 16, 16)), Clock()):
        centres.append(sphere_of(model).centre.clone())
    assert torch.equal(centres[0], centres[1])
    assert float(centres[0].abs().min()) >= 0.1 - 1e-6

    longer = DeepSAD(hasty, device="cpu").fit(digits["train"])
    assert torch.equal(sphere_of(longer).centre, centres[0])


def test_score_is_the_squared_distance(hasty: Config, digits: Digits) -> None:
    model = DeepSAD(hasty, device="cpu").fit(digits["train"])
    images = to_float(torch.from_numpy(digits["normal"][:4])[:, None])
    with torch.inference_mode():
        score, features = model.score(images)["deepsad"], model.network_(images)
        sphere = sphere_of(model)
        for b in range(4):
            offset = sphere.linear.weight @ features[b] - sphere.centre
            assert float(score[b]) == pytest.approx(float(offset @ offset), rel=1e-4)


def test_learning_rate_is_a_tenth_of_the_detectors(hasty: Config) -> None:
    assert DeepSAD(hasty).config.stage1.learning_rate == pytest.approx(
        0.1 * hasty.stage1.learning_rate
    )


@pytest.fixture(scope="module")
def longer(tiny: Config) -> Config:
    """Without labelled anomalies the sphere takes more steps."""
    return replace(tiny, stage1=replace(tiny.stage1, min_steps=40, max_steps=40))


def test_training_does_not_diverge_on_anomalies_that_look_normal(
    longer: Config, digits: Digits
) -> None:
    wide = replace(longer, encoder=EncoderChoices(width=16, stem_stride=2))
    model = DeepSAD(wide, device="cpu").fit(digits["train"], anomalies=digits["train"][:5])
    assert float(np.median(model.decision_function(digits["normal"]))) < 10


@pytest.mark.parametrize("labelled", [0, 30])
def test_other_digits_score_higher(labelled: int, longer: Config, digits: Digits) -> None:
    anomalies = digits["anomalous"][:labelled] if labelled else None
    model = DeepSAD(longer, device="cpu").fit(digits["train"], anomalies=anomalies)
    unseen = digits["anomalous"][30:]
    score = model.decision_function(np.concatenate([digits["normal"], unseen]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(unseen)])
    assert roc_auc_score(label, score) > 0.8
