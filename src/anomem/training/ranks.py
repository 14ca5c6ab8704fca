"""The processes that train together on one batch: which rows each has, and what they share."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Joins the processes that train together; row i of a batch lies with rank ``i mod world``.

    Every part of a batch is a multiple of the world, so that all hold as many rows of it, and the
    mean of their losses is the loss of the whole batch.

    Attributes:
        fabric: Carries tensors between them; None for a process alone.
        rank: Of this process, from 0.
        world: Number of processes.
    """

    fabric: Fabric | None = None
    rank: int = 0
    world: int = 1

    @staticmethod
    def of(fabric: Fabric) -> Ranks:
        """Take the processes that a launched fabric joins."""
        return Ranks(fabric, fabric.global_rank, fabric.world_size)

    def own(self, rows: Tensor) -> Tensor:
        """Choose the rows of this process, of those of a whole batch."""
        return rows[self.rank :: self.world]

    def gathered(self, rows: Tensor) -> Tensor:
        """Gather a tensor of every process, (world, ...), with gradients that flow back to each.

        What is computed on every process from all of them counts once for each: the gradient is
        that of the sum of their losses, which is divided by their number where weights learn.
        """
        if self.fabric is None or self.world == 1:
            return rows[None]
        with warnings.catch_warnings():
            # Lightning gathers with gradients through a function of PyTorch that will be renamed.
            warnings.filterwarnings("ignore", r"torch\.distributed\.nn\.functional\.all_gather is")
            # Flat, as gloo scatters gradients by their order in memory, whatever their strides.
            gathered = self.fabric.all_gather(rows.flatten(), sync_grads=torch.is_grad_enabled())
        assert isinstance(gathered, Tensor)
        return gathered.view(self.world, *rows.shape)

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, with gradients that flow back to each."""
        return self.gathered(values).sum(dim=0)

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over all processes, as :meth:`total`."""
        return self.total(values) / self.world

    def even(self, rows: int) -> int:
        """Cut so many rows, or fewer, into equal shares; at least one for each."""
        return max(rows // self.world, 1) * self.world


ALONE = Ranks()
"""A process that trains by itself."""
