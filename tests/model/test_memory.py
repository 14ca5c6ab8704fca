import pytest
import torch
from equations import recollected
from hypothesis import given, settings, strategies as st
from torch import Tensor

from anomem.model.memory import HopfieldMemory, gated_recollection


def memory_of(size: int = 7, channels: int = 5, **choices: float) -> HopfieldMemory:
    torch.manual_seed(size)
    memory = HopfieldMemory(
        size,
        channels,
        beta=choices.get("beta", 2.0),
        steps=int(choices.get("steps", 1)),
        unit_norm=bool(choices.get("unit_norm", 1)),
    )
    memory.prototypes.data.mul_(torch.rand(size, 1) * 3)
    return memory


@given(
    unit_norm=st.booleans(),
    steps=st.integers(1, 4),
    beta=st.floats(0.1, 20),
    size=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=30)
def test_recollection_is_the_equation(
    unit_norm: bool, steps: int, beta: float, size: int, seed: int
) -> None:
    memory = memory_of(size, beta=beta, steps=steps, unit_norm=unit_norm)
    query = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed))
    prototypes = memory.prototypes.tolist()
    expected = torch.tensor(
        [
            recollected(row, prototypes, beta=beta, steps=steps, unit_norm=unit_norm)
            for row in query.tolist()
        ]
    )
    torch.testing.assert_close(memory(query), expected, atol=1e-4, rtol=1e-4)
    deviation = torch.nn.functional.normalize(query, dim=-1) if unit_norm else query
    torch.testing.assert_close(memory.deviation(query), deviation - expected, atol=1e-4, rtol=1e-4)


def test_high_beta_recalls_the_nearest_prototype() -> None:
    memory = memory_of(beta=1e4)
    query = memory.prototypes.detach() + 0.01
    recalled = memory(query)
    torch.testing.assert_close(recalled, memory.comparable(memory.prototypes), atol=1e-3, rtol=0)
    assert memory.deviation(memory.prototypes).abs().max() < 1e-3


def test_every_place_is_recalled_by_itself() -> None:
    memory = memory_of(steps=2)
    query = torch.randn(2, 4, 3, 5)
    recalled = memory(query)
    assert recalled.shape == query.shape
    torch.testing.assert_close(recalled[1, 2, 0], memory(query[1, 2, 0]))


def test_unit_norm_overlooks_the_length_of_the_query() -> None:
    memory = memory_of(unit_norm=True)
    query = torch.randn(6, 5)
    torch.testing.assert_close(memory(query), memory(query * 40))
    torch.testing.assert_close(memory(query).norm(dim=-1), torch.ones(6))


def test_recollection_is_float32_even_under_autocast() -> None:
    memory = memory_of()
    query = torch.randn(4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert memory(query.bfloat16()).dtype == torch.float32
        torch.testing.assert_close(memory(query), memory_of()(query), atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 5), (6, 2, 2, 5)])
def test_only_normals_are_recalled(shape: tuple[int, ...]) -> None:
    memory = memory_of()
    query = torch.randn(shape)
    result = gated_recollection(memory, query, 4)
    for index, (row, found) in enumerate(zip(query, result, strict=True)):
        torch.testing.assert_close(found, memory(row) if index < 4 else row)


@pytest.mark.parametrize("normals", [0, 3])
def test_batch_of_one_label(normals: int) -> None:
    memory, query = memory_of(), torch.randn(3, 5)
    expected = memory(query) if normals else query
    torch.testing.assert_close(gated_recollection(memory, query, normals), expected)


def prototype_gradient(query: Tensor, normals: int, weight: Tensor) -> Tensor:
    memory = memory_of()
    (gated_recollection(memory, query, normals) * weight).sum().backward()
    assert memory.prototypes.grad is not None
    return memory.prototypes.grad


def test_anomalies_never_move_the_prototypes() -> None:
    query, weight = torch.randn(4, 5), torch.randn(4, 5)
    with_anomalies = prototype_gradient(query, 2, weight)
    without = prototype_gradient(query[:2], 2, weight[:2])
    torch.testing.assert_close(with_anomalies, without)
    assert with_anomalies.abs().max() > 0
    assert (prototype_gradient(query, 0, weight) == 0).all()


def test_gradient_passes_to_anomalies_unchanged() -> None:
    query, weight = torch.randn(2, 5, requires_grad=True), torch.randn(2, 5)
    (gated_recollection(memory_of(), query, 1) * weight).sum().backward()
    assert query.grad is not None
    torch.testing.assert_close(query.grad[1], weight[1])
    assert (query.grad[0] - weight[0]).abs().max() > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_weights_are_those_of_the_last_retrieval(steps: int) -> None:
    memory = HopfieldMemory(5, 3, beta=4.0, steps=steps)
    query = torch.randn(2, 3)
    weights = memory.weights(query)
    assert weights.sum(dim=-1).tolist() == pytest.approx([1, 1])
    recalled = torch.nn.functional.normalize(weights @ memory.comparable(memory.prototypes), dim=-1)
    torch.testing.assert_close(recalled, memory(query))
