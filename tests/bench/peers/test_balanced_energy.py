import math

import pytest
import torch
from ood_digits import OUTSIDE, as_floats, fitted, some_digits

from anomem import Config
from anomem_bench.peers.balanced_energy import BalancedEnergy, balanced_margin


@pytest.fixture(scope="module")
def model(hasty: Config) -> BalancedEnergy:
    made = fitted(BalancedEnergy, hasty)
    assert isinstance(made, BalancedEnergy)
    return made


def test_balanced_margin() -> None:
    outlier = torch.tensor([[0.1, 0.2, 0.3], [9.0, 1.0, 0.0], [1.0, 7.0, 7.0]])
    prior = torch.tensor([0.7, 0.2, 0.1])
    powers = [float(share) ** 0.05 for share in prior]
    above, weights = 0.0, 0.0
    for logits in outlier.tolist():
        total = sum(math.exp(logit) for logit in logits)
        common = sum(
            math.exp(logit) / total * power / sum(powers)
            for logit, power in zip(logits, powers, strict=True)
        )
        above += common * max(0.0, -5 + 10 * common + math.log(total)) ** 2
        weights += common
    assert float(balanced_margin(outlier, prior)) == pytest.approx(above / weights, rel=1e-5)


def test_more_is_asked_of_an_outlier_of_a_common_class() -> None:
    prior = torch.tensor([0.98, 0.01, 0.01])
    common, rare = torch.tensor([[6.0, 0.0, 0.0]]), torch.tensor([[0.0, 6.0, 0.0]])
    assert balanced_margin(common, prior) > balanced_margin(rare, prior)
    even = torch.full((3,), 1 / 3)
    torch.testing.assert_close(balanced_margin(common, even), balanced_margin(rare, even))


def test_prior_is_what_outliers_are_taken_for_as_fine_tuning_begins(
    model: BalancedEnergy,
) -> None:
    outliers = as_floats(some_digits(OUTSIDE, slice(0, 20))[0])
    model._prior = None
    with torch.no_grad():
        model.network_.eval()
        told = model.logits(model.network_(outliers)).argmax(dim=1).tolist()
        model.margins(torch.zeros(1, 3), torch.zeros(1, 3))
    expected = [(told.count(k) + 1) / (len(told) + 3) for k in range(3)]
    assert model._prior is not None
    assert model._prior.tolist() == pytest.approx(expected)
    before = model._prior
    model.margins(torch.zeros(1, 3), torch.zeros(1, 3))
    assert model._prior is before
