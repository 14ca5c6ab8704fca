"""Which images enter which step: a function of the seed and the step alone.

Nothing is carried from step to step, so that a run resumed at any step sees what the
uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from anomem.training.ranks import ALONE, Ranks


class Draws:
    """Endless shuffled passes over a set, cut into batches.

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


@dataclass(frozen=True)
class Chance:
    """Random numbers, one or more for each row of a batch; one process takes those of its rows.

    All processes draw for the whole batch, so that what is drawn for a row does not depend on how
    many they are.

    Attributes:
        generator: In the same state on all processes.
        first: Place of the first own row among all.
        step: From one own row to the next.
        rows: Of the whole batch; None is ``step`` times the own ones.
    """

    generator: torch.Generator
    first: int = 0
    step: int = 1
    rows: int | None = None

    @staticmethod
    def of(generator: torch.Generator, ranks: Ranks = ALONE) -> Chance:
        """That of a process among others."""
        return Chance(generator, ranks.rank, ranks.world)

    def uniform(self, own: int, low: float, high: float) -> Tensor:
        """Numbers between two others, one for each of so many own rows, (own,)."""
        device = self.generator.device
        share = self._own(
            own, lambda rows: torch.rand(rows, generator=self.generator, device=device)
        )
        return low + (high - low) * share

    def normal(self, own: int, *shape: int) -> Tensor:
        """Standard normal numbers, (own, *shape)."""
        device = self.generator.device
        return self._own(
            own,
            lambda rows: torch.randn(rows, *shape, generator=self.generator, device=device),
        )

    def integers(self, own: int, below: int) -> Tensor:
        """Whole numbers from 0, (own,)."""
        device = self.generator.device
        return self._own(
            own,
            lambda rows: torch.randint(0, below, (rows,), generator=self.generator, device=device),
        )

    def parts(self, own: int, count: int) -> Iterator[tuple[slice, Chance]]:
        """The batch cut into so many parts that differ by a row at most, those empty left out.

        Yields:
            Where the own rows of a part lie among so many own ones, and the chance of the part.
        """
        total = self._whole(own)
        stop = 0
        for part in range(count):
            start, stop = stop, stop + total // count + (part < total % count)
            low, high = (len(range(self.first, bound, self.step)) for bound in (start, stop))
            if stop > start:
                first = (self.first - start) % self.step
                yield slice(low, high), Chance(self.generator, first, self.step, stop - start)

    def _whole(self, own: int) -> int:
        return own * self.step if self.rows is None else self.rows

    def _own(self, own: int, draw: Callable[[int], Tensor]) -> Tensor:
        return draw(self._whole(own))[self.first :: self.step]


def seeded(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on nothing but a seed and a step."""
    mixed = (seed * 1_000_003 + step * 7_919 + 17) % 2**63
    return torch.Generator(device).manual_seed(mixed)
