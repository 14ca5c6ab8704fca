import math

import pytest
import torch
from ood_digits import as_floats, fitted, some_digits

from anomem import Config
from anomem.training.draws import Chance, seeded
from anomem.training.views import random_view
from anomem_bench.peers.classifier import OUTLIER, Classifier
from anomem_bench.peers.energy_oe import EnergyOE

LABEL = torch.tensor([0, 0, 1, 1, OUTLIER, OUTLIER, OUTLIER, OUTLIER])


@pytest.fixture(scope="module")
def model(hasty: Config) -> EnergyOE:
    made = fitted(EnergyOE, hasty)
    assert isinstance(made, EnergyOE)
    return made


def slow_energy(logits: list[float]) -> float:
    return -math.log(sum(math.exp(logit) for logit in logits))


def slow_margins(normal: list[list[float]], outlier: list[list[float]]) -> float:
    inside = sum(max(0.0, slow_energy(row) + 23) ** 2 for row in normal) / len(normal)
    outside = sum(max(0.0, -5 - slow_energy(row)) ** 2 for row in outlier) / len(outlier)
    return inside + outside


def test_margins(model: EnergyOE) -> None:
    normal = torch.tensor([[30.0, 1.0, 0.0], [4.0, 2.0, 1.0]])
    outlier = torch.tensor([[0.1, 0.2, 0.3], [9.0, 1.0, 0.0], [7.0, 7.0, 7.0]])
    expected = slow_margins(normal.tolist(), outlier.tolist())
    assert float(model.margins(normal, outlier)) == pytest.approx(expected, rel=1e-5)


def test_beyond_their_margins_nothing_is_asked(model: EnergyOE) -> None:
    normal, outlier = torch.tensor([[40.0, 0.0, 0.0]]), torch.zeros(1, 3)
    assert float(model.margins(normal, outlier)) == 0


@torch.no_grad()
def test_loss_is_that_of_a_classifier_until_fine_tuning_begins(
    model: EnergyOE, hasty: Config
) -> None:
    images = as_floats(some_digits((0, 1, 3, 4), slice(0, 2))[0])

    def loss_at(done: float) -> float:
        model.done_ = done
        return float(model.loss(model.network_, images, LABEL, Chance(seeded(0, 0))))

    model.done_ = 0.0
    plain = Classifier.loss(model, model.network_, images, LABEL, Chance(seeded(0, 0)))
    assert loss_at(0.59) == float(plain)

    views = random_view(images, hasty.views, Chance(seeded(0, 0)))
    logits = model.logits(model.network_(views)).tolist()
    entropy = sum(-row[k] - slow_energy(row) for row, k in zip(logits, LABEL[:4], strict=False))
    expected = 0.1 * (float(entropy) / 4 + 0.1 * slow_margins(logits[:4], logits[4:]))
    assert loss_at(0.6) == loss_at(0.99) == pytest.approx(expected, rel=1e-4)


@torch.inference_mode()
def test_score_is_the_energy(model: EnergyOE) -> None:
    images = as_floats(some_digits((7, 8), slice(0, 2))[0])
    rows = model.logits(model.network_(images)).tolist()
    scores = model.score(images)["energy-oe"].tolist()
    assert scores == pytest.approx([slow_energy(row) for row in rows], rel=1e-4)
