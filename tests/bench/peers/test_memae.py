import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from short_training import narrow
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomem import Config
from anomem.images.image_set import to_float
from anomem.training.draws import Chance, seeded
from anomem.training.views import random_view
from anomem_bench.peers.memae import MemAE, SparseMemory, entropy, shrunk

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def hardly_trained(hasty: Config, digits: Digits) -> MemAE:
    return MemAE(hasty, device="cpu").fit(digits["train"][:20])


@pytest.fixture(scope="module")
def of_zeros(tiny: Config, digits: Digits) -> MemAE:
    return MemAE(narrow(tiny, 60), device="cpu").fit(digits["train"])


def batch(images: npt.NDArray[np.uint8]) -> Tensor:
    return to_float(torch.from_numpy(images)[:, None])


def slowly_addressed(memory: SparseMemory, query: Tensor) -> list[float]:
    """The weight of each item for a query (C,): those of the softmax above 1 / N, by their sum."""
    likeness = [math.exp(float(query @ item)) for item in memory.items]
    softmax = [each / sum(likeness) for each in likeness]
    kept = [each if each > 1 / len(softmax) else 0.0 for each in softmax]
    return [each / sum(kept) for each in kept]


@torch.no_grad()
def test_memory_recalls_a_sparse_mixture_of_its_items_at_each_place() -> None:
    memory, code = SparseMemory(), 3 * torch.randn(2, 32, 1, 3, generator=seeded(0, 0))
    recalled, weights = memory(code)
    assert recalled.shape == code.shape
    for b in range(2):
        for j in range(3):
            slow = slowly_addressed(memory, code[b, :, 0, j])
            np.testing.assert_allclose(weights[b, 0, j], slow, rtol=1e-3, atol=1e-6)
            mixture = sum(w * item for w, item in zip(slow, memory.items, strict=True))
            torch.testing.assert_close(recalled[b, :, 0, j], mixture, rtol=1e-3, atol=1e-5)


def test_what_is_shrunk_sums_to_one_and_loses_what_is_below_the_mean() -> None:
    weights = torch.randn(50, 20, generator=seeded(0, 0)).softmax(dim=1)
    sparse = shrunk(weights)
    torch.testing.assert_close(sparse.sum(dim=1), torch.ones(50))
    assert torch.equal(sparse > 0, weights > 1 / 20)


def test_entropy_of_weights() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.25, 0.25, 0.0]])
    expected = [0.0, math.log(4), 0.5 * math.log(2) + 0.5 * math.log(4)]
    assert entropy(weights).tolist() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_loss_is_the_error_and_a_little_of_the_entropy(
    hardly_trained: MemAE, hasty: Config, digits: Digits
) -> None:
    model = hardly_trained
    images, label = batch(digits["train"][:5]), torch.tensor([0, 0, 0, 1, 1])
    loss = model.loss(model.network_, images, label, Chance(seeded(0, 0)))

    memory = model.head("memory")
    assert isinstance(memory, SparseMemory)
    encoder, total = model.network_.encoder, 0.0
    for view in random_view(images[:3], hasty.views, Chance(seeded(0, 0))):
        code = model.head("code")(model.network_(view[None]))[0, :, 0, 0]  # of the only place
        weights = slowly_addressed(memory, code)
        recalled = sum(w * item for w, item in zip(weights, memory.items, strict=True))
        made = model.head("decoder")(recalled.view(1, 32, 1, 1))[0]
        total += float((made - (view - encoder.mean) / encoder.std).square().mean())
        total -= 0.0002 * sum(w * math.log(w) for w in weights if w > 0)
    assert float(loss) == pytest.approx(total / 3, rel=1e-3)


@torch.inference_mode()
def test_unseen_zeros_are_recalled_from_some_items_with_a_sum_of_one(
    of_zeros: MemAE, digits: Digits
) -> None:
    code = of_zeros.head("code")(of_zeros.network_(batch(digits["normal"])))
    memory = of_zeros.head("memory")
    assert isinstance(memory, SparseMemory)
    recalled, weights = memory(code)
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(weights.shape[:3]))
    assert (weights > 0).sum(dim=3).amax() < 300  # of 500, of which a softmax has all
    assert (recalled.norm(dim=1) <= memory.items.norm(dim=1).amax()).all()  # mixtures of items


def test_other_digits_score_higher(of_zeros: MemAE, digits: Digits) -> None:
    score = of_zeros.decision_function(np.concatenate([digits["normal"], digits["anomalous"]]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(digits["anomalous"])])
    assert roc_auc_score(label, score) > 0.7
