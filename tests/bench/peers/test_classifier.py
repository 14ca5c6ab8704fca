import math

import numpy as np
import pytest
import torch
from ood_digits import KNOWN, STRANGE, as_floats, as_set, fitted, some_digits
from sklearn.metrics import roc_auc_score

from anomem import Config
from anomem.config.mapping import changed
from anomem.config.presets import scratch
from anomem.images.resize import ImageShape
from anomem.training.draws import Chance, seeded
from anomem.training.views import random_view
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.balanced_energy import BalancedEnergy
from anomem_bench.peers.classifier import OUTLIER, Classifier, energy
from anomem_bench.peers.energy_oe import EnergyOE
from anomem_bench.peers.fs import FS

EACH = [Classifier, FS, EnergyOE, BalancedEnergy]


@pytest.fixture(scope="module")
def auroc() -> dict[str, float]:
    """Of digits that no method has seen, after a hundred steps of the network of ``scratch``."""
    steps = {"stage1__min_steps": 120, "stage1__max_steps": 120, "stage1__averaging": 0.9}
    config = changed(scratch(), {"images__size": 16, "encoder__width": 8, **steps})
    known, strange = (some_digits(kinds, slice(100, 150))[0] for kinds in (KNOWN, STRANGE))
    label = np.repeat([0, 1], [len(known), len(strange)])
    result = {}
    for peer in EACH:
        model = fitted(peer, config, slice(0, 100))
        for name, score in model.scores(as_set(np.concatenate([known, strange]))).items():
            result[name] = float(roc_auc_score(label, score))
    return result


@pytest.fixture(scope="module")
def plain(hasty: Config) -> Classifier:
    return fitted(Classifier, hasty)


def test_strange_digits_score_higher(auroc: dict[str, float]) -> None:
    assert set(auroc) == {"msp", "energy", "fs", "energy-oe", "balanced-energy"}
    assert min(auroc.values()) > 0.8


@pytest.mark.parametrize("name", ["fs", "energy-oe", "balanced-energy"])
def test_each_is_ahead_of_the_plain_softmax(auroc: dict[str, float], name: str) -> None:
    assert auroc[name] >= auroc["msp"]


@pytest.mark.parametrize("peer", EACH)
def test_what_is_missing_is_told(peer: type[Classifier], hasty: Config) -> None:
    images, kinds = some_digits(KNOWN, slice(0, 10))
    with pytest.raises(ValueError, match=f"{peer.__name__} learns from the classes of normals"):
        peer(hasty, device="cpu").fit(images)
    if "outliers" in peer.given:
        with pytest.raises(ValueError, match=f"{peer.__name__} learns from outliers"):
            peer(hasty, device="cpu").fit(images, classes=kinds)


def test_each_image_of_a_batch_has_its_own_class(hasty: Config) -> None:
    """Pixels that spell the class: 10 for 0, 11 for 1 and so on, and 200 for outliers."""
    kinds = np.arange(30) % 3 + 10
    normals = np.full((30, 16, 16), kinds[:, None, None], np.uint8)
    outliers = np.full((100, 16, 16), 200, np.uint8)
    shape = ImageShape(1, 16, 16)
    images = TrainingSet(as_set(normals), None, shape, kinds, as_set(outliers))
    for peer, count in ((Classifier, 0), (EnergyOE, 32)):
        model = peer(hasty, device="cpu")
        model.start(images)
        draw = model.drawn(images, torch.device("cpu"))
        for step in range(4):
            pixels, label = draw(step)
            spelt = (pixels[:, 0, 0, 0] * 255).round().long()
            assert len(label) == 16 + count and int((label == OUTLIER).sum()) == count
            assert torch.equal(label, torch.where(spelt == 200, OUTLIER, spelt - 10))


@torch.no_grad()
def test_loss_is_the_cross_entropy_of_normals_alone(plain: Classifier, hasty: Config) -> None:
    images = as_floats(some_digits((0, 1, 2, 3), slice(0, 2))[0])
    label = torch.tensor([0, 0, 1, 1, 2, 2, OUTLIER, OUTLIER])
    loss = plain.loss(plain.network_, images, label, Chance(seeded(0, 0)))
    views = random_view(images[:6], hasty.views, Chance(seeded(0, 0)))
    total = 0.0
    for logits, kind in zip(plain.logits(plain.network_(views)).tolist(), label, strict=False):
        total -= math.log(math.exp(logits[kind]) / sum(math.exp(other) for other in logits))
    assert float(loss) == pytest.approx(total / 6, rel=1e-4)


@torch.no_grad()
def test_scores_of_logits(plain: Classifier) -> None:
    images = as_floats(some_digits(STRANGE, slice(0, 2))[0])
    scores = plain.score(images)
    for i, logits in enumerate(plain.logits(plain.network_(images)).tolist()):
        shares = [math.exp(logit) for logit in logits]
        assert float(scores["msp"][i]) == pytest.approx(-max(shares) / sum(shares), rel=1e-4)
        assert float(scores["energy"][i]) == pytest.approx(-math.log(sum(shares)), rel=1e-4)


def test_energy_is_lower_the_surer_a_class_is() -> None:
    assert energy(torch.tensor([[9.0, 0.0, 0.0], [3.0, 3.0, 3.0]])).diff().item() > 0


def test_classes_may_have_any_numbers(hasty: Config) -> None:
    images, kinds = some_digits(KNOWN, slice(0, 20))
    one, other = (
        Classifier(hasty, device="cpu").fit(images, classes=numbers)
        for numbers in (kinds, 7 * kinds + 3)
    )
    assert other.known_.tolist() == [3, 10, 17]
    np.testing.assert_array_equal(one.decision_function(images), other.decision_function(images))
