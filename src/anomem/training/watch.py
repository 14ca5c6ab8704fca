"""The watch over stage 1: figures of the contrast and of the retrieval of each scale."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from anomem.model.memory import HopfieldMemory
from anomem.training.collapse import ScaleFigures
from anomem.training.losses import ScaleLoss

_EVERY = 5
"""Steps from one that is looked at to the next."""
_LOOKED_AT = 20
"""Last steps of those that the figures are of."""
_ZERO = 1e-12
"""Mean square of recollections that are nothing: they do not vary."""


@dataclass(frozen=True)
class _Look:
    """One step's figures of a scale, left on the device."""

    contrast: Tensor
    entropy: Tensor
    in_use: Tensor
    variance: Tensor


class Watch:
    """Keeps the figures of the last steps of stage 1, without a draw or a wait for the device.

    Args:
        memories: One a scale.
        soft_class: As of :func:`~anomem.training.losses.contrasted_memory_loss`.

    Attributes:
        told: A collapse was told on the way.
    """

    def __init__(self, memories: Sequence[HopfieldMemory], soft_class: float) -> None:
        self.memories, self.soft_class = memories, soft_class
        self.chance, self.least = math.nan, math.nan
        self.told = False
        self._looks: list[deque[_Look]] = [deque(maxlen=_LOOKED_AT) for _ in memories]

    @torch.no_grad()
    def look(self, step: int, losses: Sequence[ScaleLoss], rows: int, normals: int) -> None:
        """Look at the losses of a step, unless it is left out.

        Args:
            step: Counted from 0; every fifth is looked at.
            losses: Of each scale.
            rows: B, the samples that are contrasted, of all processes.
            normals: Of them, the normals.
        """
        if step % _EVERY or not normals:
            return
        self.chance = math.log(2 * rows - 1)
        self.least = _entropy_of_positives(self.soft_class, 2 * normals - 2)
        for memory, loss, looks in zip(self.memories, losses, self._looks, strict=True):
            weights = memory.weights(loss.query.detach())
            recollected = loss.recollected.detach().flatten(0, -2)
            square = recollected.square().sum(dim=1).mean()
            in_use = torch.zeros(len(memory.prototypes), device=weights.device)
            look = _Look(
                loss.contrast.detach(),
                torch.special.entr(weights).sum(dim=-1).mean(),
                in_use.index_fill_(0, weights.argmax(dim=-1).flatten(), 1),
                (square - recollected.mean(dim=0).square().sum()).clamp_min(0)
                / square.clamp_min(_ZERO),
            )
            looks.append(look)

    def state(self) -> dict[str, Tensor]:
        """Give all that the figures are of, by name; nothing before a step was looked at."""
        if not self._looks[0]:
            return {}
        known = [self.chance, self.least, float(self.told)]
        return {"known": torch.tensor(known, dtype=torch.float64)} | {
            f"{scale}.{each.name}": torch.stack([getattr(look, each.name) for look in looks])
            for scale, looks in enumerate(self._looks)
            for each in fields(_Look)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of :meth:`state`."""
        if "known" not in state:
            return
        self.chance, self.least, told = state["known"].tolist()
        self.told = bool(told)
        for scale, (memory, looks) in enumerate(zip(self.memories, self._looks, strict=True)):
            device = memory.prototypes.device
            parts = [state[f"{scale}.{each.name}"].to(device) for each in fields(_Look)]
            looks.clear()
            looks.extend(_Look(*each) for each in zip(*parts, strict=True))

    def figures(self) -> list[ScaleFigures]:
        """Give the figures of each scale over the last twenty steps looked at; none before one."""
        return [
            ScaleFigures(
                contrast=_mean([look.contrast for look in looks]),
                chance=self.chance,
                least=self.least,
                perplexity=math.exp(_mean([look.entropy for look in looks])),
                in_use=int(torch.stack([look.in_use for look in looks]).amax(dim=0).sum()),
                prototypes=len(memory.prototypes),
                variance=_mean([look.variance for look in looks]),
            )
            for memory, looks in zip(self.memories, self._looks, strict=True)
            if looks
        ]


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.stack(list(values)).mean())


def _entropy_of_positives(soft_class: float, others: int) -> float:
    """The least that the contrast can be: it is a cross-entropy of the positives' weights."""
    if soft_class == 0 or others == 0:
        return 0.0
    share = soft_class / (1 + soft_class)
    return -share * math.log(share / others) - (1 - share) * math.log(1 - share)
