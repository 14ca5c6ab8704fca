"""Which images enter which step: a function of the seed and the step alone.

Nothing is carried from step to step, so that a run resumed at any step sees what the
uninterrupted one would have seen.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Endless shuffled passes over a set, cut into batches.

    Args:
        count: Images in the set.
        batch: Images a step; at most ``count`` are drawn.
        seed: Of the shuffles.
        device: Where the indices are put.
    """

    def __init__(
        self, count: int, batch: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.count, self.batch, self.seed, self.device = count, min(batch, count), seed, device
        self._passes: dict[int, Tensor] = {}

    def indices(self, step: int) -> Tensor:
        """Indices (batch,) of a step, counted from 0."""
        start = step * self.batch
        first, last = start // self.count, (start + self.batch - 1) // self.count
        self._passes = {
            p: self._passes[p] if p in self._passes else self._shuffle(p)
            for p in range(first, last + 1)
        }
        joined = torch.cat(list(self._passes.values()))
        offset = start - first * self.count
        return joined[offset : offset + self.batch]

    def _shuffle(self, number: int) -> Tensor:
        shuffled = torch.randperm(self.count, generator=seeded(self.seed, number))
        return shuffled.to(self.device)


def seeded(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on nothing but a seed and a step."""
    mixed = (seed * 1_000_003 + step * 7_919 + 17) % 2**63
    return torch.Generator(device).manual_seed(mixed)


def evenly(count: int, most: int) -> Tensor:
    """Indices of at most so many of a number of things, evenly spaced."""
    if count <= most:
        return torch.arange(count)
    return torch.linspace(0, count - 1, most).round().long()
