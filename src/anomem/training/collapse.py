"""What decides whether the contrast of a training lives, and its collapse in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

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

    def as_json(self) -> dict[str, float]:
        """Give the figures by name, as a model keeps them."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        least = f"at least {self.least:.2f}, " if self.least else ""
        return (
            f"contrast {self.contrast:.2f} ({least}{self.chance:.2f} by chance), "
            f"{self.in_use} of {self.prototypes} prototypes in use, {self.perplexity:.3g} of them "
            f"a recollection, variance {self.variance:.2g}"
        )


def told_collapse(figures: Sequence[ScaleFigures], steps: int) -> str | None:
    """Say in one sentence that a training learns nothing, why, and which choice to change.

    Args:
        figures: Of each scale, shallow to deep.
        steps: Done; of fewer than 100 nothing is said.

    Returns:
        None where every scale has learnt a tenth of what there is to learn.
    """
    for scale, of_scale in enumerate(figures, 1):
        if steps < _TOO_EARLY or of_scale.learnt >= _LEAST_LEARNT:
            continue
        many, what = of_scale.prototypes, "has collapsed"
        if of_scale.perplexity > many / 2:
            why = f"the memory recalls the mean of all {many} prototypes, whatever it is asked"
            mend = 'raise memory.beta, set memory.steps to 1 or memory.start to "normals"'
        elif of_scale.in_use < max(many / 50, 2):
            why = f"the memory recalls {of_scale.in_use} of {many} prototypes, whatever it is asked"
            mend = 'set memory.start to "normals", or lower memory.beta'
        else:
            what = "has learnt next to nothing"
            why = "two views of an image are hardly more alike than those of different images"
            mend = "train for longer (stage1.epochs), or lower stage1.learning_rate"
        return (
            f"after {steps:,} steps the contrast of scale {scale} {what} "
            f"({of_scale.contrast:.2f}, by chance {of_scale.chance:.2f}): {why}; {mend}."
        )
    return None
