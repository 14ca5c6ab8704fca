"""What decides whether the contrast lives: figures of each scale in stage 1, and its collapse."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomem.model.memory import HopfieldMemory
from anomem.training.losses import ScaleLoss

_EVERY = 5
"""Steps from one that is looked at to the next."""
_LOOKED_AT = 20
"""Last steps of those that the figures are of."""
_TOO_EARLY = 100
"""Steps before which little need have been learnt."""
_LEAST_LEARNT = 0.1
"""Of what there is to learn: less is a collapse."""


@dataclass(frozen=True)
class ScaleFigures:
    """Says what the contrast of a scale has learnt, and how its memory is recalled, in training.

    Attributes:
        contrast: Contrasted memory loss (Eq. 2).
        chance: The same where all samples are alike: ``log(2B - 1)``.
        least: The same where each sample is told from all but its positives; 0 where its other view
            is the only one (the paper).
        perplexity: Prototypes that share a recollection, from 1 to ``prototypes``: the exponential
            of the mean entropy of the weights of retrieval.
        in_use: Prototypes that weigh most for some place.
        prototypes: Number of prototypes.
        variance: Share of the mean square of recollections that is variance, from 0 (the same is
            recalled whatever is asked) to 1.
    """

    contrast: float
    chance: float
    least: float
    perplexity: float
    in_use: int
    prototypes: int
    variance: float

    @property
    def learnt(self) -> float:
        """Give the share of what there is to learn that is learnt: 0 at chance, 1 at the least."""
        return (self.chance - self.contrast) / (self.chance - self.least)

    def __str__(self) -> str:
        least = f"at least {self.least:.2f}, " if self.least else ""
        return (
            f"contrast {self.contrast:.2f} ({least}{self.chance:.2f} by chance), "
            f"{self.in_use} of {self.prototypes} prototypes in use, {self.perplexity:.3g} of them "
            f"a recollection, variance {self.variance:.2g}"
        )


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
    """

    def __init__(self, memories: Sequence[HopfieldMemory], soft_class: float) -> None:
        self.memories, self.soft_class = memories, soft_class
        self.chance, self.least = math.nan, math.nan
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
                1 - recollected.mean(dim=0).square().sum() / square,
            )
            looks.append(look)

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


def told_collapse(figures: Sequence[ScaleFigures], steps: int) -> str | None:
    """Say in one sentence that the training has collapsed, and which choice to change.

    Args:
        figures: Of each scale, shallow to deep.
        steps: Of the training; of fewer than 100 nothing is said.

    Returns:
        None where every scale has learnt a tenth of what there is to learn.
    """
    for scale, of_scale in enumerate(figures, 1):
        if steps < _TOO_EARLY or of_scale.learnt >= _LEAST_LEARNT:
            continue
        many = of_scale.prototypes
        if of_scale.perplexity > many / 2:
            why = f"the memory recalls the mean of all {many} prototypes, whatever it is asked"
            mend = 'raise memory.beta, set memory.steps to 1 or memory.start to "normals"'
        elif of_scale.in_use < max(many / 50, 2):
            why = f"the memory recalls {of_scale.in_use} of {many} prototypes, whatever it is asked"
            mend = 'set memory.start to "normals", or lower memory.beta'
        else:
            why = "the views of one image are as unlike as those of different ones"
            mend = "train for longer (stage1.epochs), or lower stage1.learning_rate"
        return (
            f"the contrast of scale {scale} has collapsed ({of_scale.contrast:.2f}, by chance "
            f"{of_scale.chance:.2f}): {why}; {mend}."
        )
    return None
