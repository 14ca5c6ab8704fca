"""What is drawn at a step: a function of the seed and the step alone.

Nothing is carried from step to step, so that a run resumed at any step sees what the
uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomem.training.ranks import ALONE, Ranks


class Draws:
    """Shuffles a set in endless passes, cut into batches.

    Args:
        count: Images in the set.
        batch: Images a step; where there are fewer, some are drawn twice.
        seed: Of the shuffles.
        device: Where the indices are put.
    """

    def __init__(
        self, count: int, batch: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.count, self.batch, self.seed, self.device = count, batch, seed, device
        self._passes: dict[int, Tensor] = {}

    def indices(self, step: int) -> Tensor:
        """Draw the indices (batch,) of a step, counted from 0."""
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


@dataclass(frozen=True)
class Chance:
    """Draws random numbers for each row of a batch, of which a process takes those of its own rows.

    All processes draw for the whole batch, so that what is drawn for a row does not depend on how
    many they are.

    Attributes:
        generator: In the same state on all processes.
        ranks: The processes.
    """

    generator: torch.Generator
    ranks: Ranks = ALONE

    def uniform(self, own: int, low: float, high: float) -> Tensor:
        """Draw numbers between two others, one for each of so many own rows, (own,)."""
        drawn = torch.rand(
            own * self.ranks.world, generator=self.generator, device=self.generator.device
        )
        return low + (high - low) * self.ranks.own(drawn)

    def integers(self, own: int, below: int) -> Tensor:
        """Draw whole numbers from 0 to below another, (own,)."""
        drawn = torch.randint(
            below,
            (own * self.ranks.world,),
            generator=self.generator,
            device=self.generator.device,
        )
        return self.ranks.own(drawn)


def seeded(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Seed a generator that depends on nothing but a seed and a step."""
    mixed = (seed * 1_000_003 + step * 7_919 + 17) % 2**63
    return torch.Generator(device).manual_seed(mixed)
