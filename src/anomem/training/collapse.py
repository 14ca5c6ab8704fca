"""What decides whether the contrast of a training lives, and its collapse in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from anomem.config import MemoryChoices

_TOO_EARLY = 100
"""Steps before which little need have been learnt."""
_LEAST_LEARNT = 0.1
"""Of what there is to learn: less is a collapse, or a slow start."""
_SLOW = 500
"""Steps before which a slow start is no news: photographs learn 3% in 100 and 39% in 200."""
_MEAN_OF_ALL = 0.8
"""Share of the prototypes that weigh in a recollection from which on it is their mean."""
_FEW = 3
"""Prototypes in use, at most, of a memory that recalls the same for all."""
_LITTLE_TO_LEARN = 0.1
"""Between chance and the least: where normals are one class and hardly anything else is there."""
_NO_VARIANCE = 0.01
"""Where each normal is to be told from all others: the same is recalled for all of them."""


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

    def as_json(self) -> dict[str, float]:
        """Give the figures by name, as a model keeps them."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        least = f"at least {self.least:.2f}, " if self.least else ""
        return (
            f"contrast {self.contrast:.2f} ({least}{self.chance:.2f} by chance), "
            f"{self.in_use} of {self.prototypes} prototypes in use, {self.perplexity:.3g} share "
            f"a recollection, variance {self.variance:.2g}"
        )


def told_collapse(figures: Sequence[ScaleFigures], steps: int, memory: MemoryChoices) -> str | None:
    """Say in one sentence that a training learns nothing, why, and which choice to change.

    Args:
        figures: Of each scale, shallow to deep.
        steps: Done; of fewer than 100 nothing is said, of fewer than 500 that the memory has
            collapsed, and of more also that little is learnt without that.
        memory: Choices that the training was made with.

    Returns:
        None where every scale has learnt a tenth of what there is to learn, or there is next to
        nothing, as all normals are one class and the batch holds hardly anything else.
    """
    for scale, of_scale in enumerate(figures, 1):
        if steps < _TOO_EARLY or not _learns_nothing(of_scale):
            continue
        many, what = of_scale.prototypes, "has collapsed"
        if many > 1 and of_scale.perplexity > _MEAN_OF_ALL * many:
            why = f"the memory recalls the mean of all {many} prototypes, whatever it is asked"
            mend = _mended(memory, "raise")
        elif of_scale.in_use <= min(_FEW, many / 2):
            why = f"the memory recalls {of_scale.in_use} of {many} prototypes, whatever it is asked"
            mend = _mended(memory, "lower")
        elif steps < _SLOW:
            continue
        else:
            what = "has learnt next to nothing"
            why = "two views of an image are hardly more alike than those of different images"
            mend = "train for longer (stage1.epochs), or lower stage1.learning_rate"
        return (
            f"after {steps:,} steps the contrast of scale {scale} {what} "
            f"({of_scale.contrast:.2f}, by chance {of_scale.chance:.2f}): {why}; {mend}."
        )
    return None


def _learns_nothing(figures: ScaleFigures) -> bool:
    if figures.chance - figures.least < _LITTLE_TO_LEARN:
        return False
    # Anomalies of the batch pass by the memory and may be told apart where normals are not.
    alike = figures.least == 0 and figures.variance < _NO_VARIANCE
    return alike or figures.learnt < _LEAST_LEARNT


def _mended(memory: MemoryChoices, beta: str) -> str:
    """What leads to the reading that learns (docs/explain/collapse.md) and is not so already."""
    if not memory.unit_norm:
        return (
            "retrieve on the unit sphere (memory.unit_norm), with memory.beta 20, memory.steps 1 "
            'and memory.start "normals"'
        )
    changes = [f"{beta} memory.beta from {memory.beta:g}"]
    if memory.steps > 1:
        changes.append("set memory.steps to 1")
    if memory.start != "normals":
        changes.append('set memory.start to "normals"')
    return " or ".join(changes)
