"""A game of a generator against a critic, played by one optimiser (Wasserstein, WGAN-GP)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from anomem.training.draws import Chance

_PENALTY, _DRIFT = 10.0, 0.001


def critic(widths: Sequence[int], *, side: int) -> nn.Sequential:
    """Build convolutions of so many channels, each halving the map if wider than one place."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        stride = 2 if side > 1 else 1
        layers += [nn.Conv2d(before, after, side, stride, side // 2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))


def wasserstein_game(critic: nn.Module, real: Tensor, fake: Tensor, chance: Chance) -> Tensor:
    """Measure how well a critic parts real from fake, negated, with its penalties.

    Who lowers it through the critic parts them better; what made the fakes feels the opposite
    slope, so that both take their step at once.

    Args:
        critic: Gives a map (B, 1, h, w), of which the mean counts.
        real: (B, C, H, W).
        fake: The same.
        chance: Draws where between both the slope of the critic is held to one.
    """
    # Of the same value as the fakes, and minus their slope.
    reversed_fake = 2 * fake.detach() - fake
    judged_real, judged_fake = (critic(each).mean(dim=(1, 2, 3)) for each in (real, reversed_fake))
    share = chance.uniform(len(real), 0.0, 1.0).view(-1, 1, 1, 1)
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    value = critic(between).mean(dim=(1, 2, 3)).sum()
    (slope,) = torch.autograd.grad(value, between, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    parted = judged_fake.mean() - judged_real.mean()
    return parted + _PENALTY * penalty + _DRIFT * judged_real.square().mean()


def gradient_norm(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Measure the norm of the gradient of a loss in some parameters, which may be none of its."""
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    squares = [gradient.square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(squares).sum().sqrt()
