"""A new legitimate kind of normal, learnt from a fitted detector."""

import numpy as np
import numpy.typing as npt
import pytest

from anomem import AnoMem
from anomem.evaluation.metrics import auroc

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture
def negatives(digits: Digits) -> npt.NDArray[np.uint8]:
    """A new kind: zeros, turned into their negatives."""
    return 255 - digits["normal"]


def test_a_new_kind_becomes_normal_and_the_old_stays(
    model: AnoMem, digits: Digits, negatives: npt.NDArray[np.uint8]
) -> None:
    new, unseen = negatives[:40], negatives[40:]
    odd = digits["anomalous"]
    before = model.decision_function(unseen)
    old_before = auroc(model.decision_function(digits["normal"]), model.decision_function(odd))
    model.extend(new)
    assert model.decision_function(unseen).mean() < before.mean() / 3
    old = auroc(model.decision_function(digits["normal"]), model.decision_function(odd))
    assert old > old_before - 0.02
    assert (model.predict(digits["normal"]) == 0).mean() > 0.8


def test_decisions_rest_on_all_kinds(model: AnoMem, negatives: npt.NDArray[np.uint8]) -> None:
    held_out = len(model.calibration())
    model.extend(negatives[:40])
    assert len(model.calibration()) == held_out + 19


def test_labels_stay(model: AnoMem, digits: Digits, negatives: npt.NDArray[np.uint8]) -> None:
    model.adapt(digits["anomalous"][:5], [1] * 5).extend(negatives[:40])
    assert model.bank_.labelled.label.tolist() == [1] * 5
    model.adapt(digits["anomalous"][:5], [-1] * 5)
    assert len(model.bank_.labelled) == 0


def test_too_few_are_told(model: AnoMem, negatives: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="9 normal images are too few"):
        model.extend(negatives[:9])
