import pytest
import torch
from torch import Tensor, nn

from anomem.training.draws import Chance, seeded
from anomem_bench.peers.game import critic, gradient_norm, wasserstein_game


@pytest.fixture
def judge() -> nn.Module:
    torch.manual_seed(0)
    return critic((1, 4, 8), side=3)


@pytest.fixture
def sides() -> tuple[Tensor, Tensor]:
    """Real and fake images, (3, 1, 8, 8)."""
    return torch.rand(3, 1, 8, 8, generator=seeded(0, 0)), torch.rand(3, 1, 8, 8)


def test_critic_of_images_halves_the_map_and_that_of_codes_keeps_its_places(
    judge: nn.Module,
) -> None:
    assert judge(torch.rand(2, 1, 16, 24)).shape == (2, 1, 4, 6)
    assert critic((32, 8), side=1)(torch.rand(2, 32, 2, 3)).shape == (2, 1, 2, 3)


def test_game_is_what_parts_the_sides_with_its_penalties(
    judge: nn.Module, sides: tuple[Tensor, Tensor]
) -> None:
    real, fake = sides
    share = Chance(seeded(1, 0)).uniform(3, 0.0, 1.0)
    total = 0.0
    for b in range(3):
        own, other = (float(judge(side[b : b + 1]).mean().detach()) for side in sides)
        between = (fake[b] + share[b] * (real[b] - fake[b]))[None].requires_grad_()
        judge(between).mean().backward()
        assert between.grad is not None
        slope = float(between.grad.square().sum()) ** 0.5
        total += other - own + 10 * (slope - 1) ** 2 + 0.001 * own**2
    game = wasserstein_game(judge, real, fake, Chance(seeded(1, 0)))
    assert float(game.detach()) == pytest.approx(total / 3, rel=1e-4)


def test_what_made_the_fakes_is_to_raise_what_the_critic_says_of_them(
    judge: nn.Module, sides: tuple[Tensor, Tensor]
) -> None:
    real, fake = sides
    fake.requires_grad_()
    (of_game,) = torch.autograd.grad(
        wasserstein_game(judge, real, fake, Chance(seeded(0, 0))), fake
    )
    (of_critic,) = torch.autograd.grad(judge(fake).mean(dim=(1, 2, 3)).mean(), fake)
    torch.testing.assert_close(of_game, -of_critic)


def test_fakes_reach_the_real_by_one_optimiser(judge: nn.Module) -> None:
    shift = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([shift, *judge.parameters()], lr=0.03, betas=(0.5, 0.99))
    for step in range(90):
        noise = torch.randn(2, 16, 1, 8, 8, generator=seeded(0, step))
        game = wasserstein_game(judge, 2 + noise[0], shift + noise[1], Chance(seeded(1, step)))
        optimizer.zero_grad()
        game.backward()
        optimizer.step()
    assert float(shift.detach()) == pytest.approx(2, abs=0.5)


def test_gradient_norm_is_over_all_parameters_that_take_part() -> None:
    first, second, idle = (torch.tensor([value], requires_grad=True) for value in (3.0, 2.0, 1.0))
    loss = (first * second).sum()  # slopes 2 and 3
    assert float(gradient_norm(loss, [first, second, idle])) == pytest.approx(13**0.5)
