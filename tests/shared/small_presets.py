"""What tells the presets apart, in detectors that fit in a second on squares of a photograph."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from squares import CONFIG, Images

from anomem import AnoMem
from anomem.config import Config, LossChoices, ScoreChoices

Fitted = Callable[[str, bool], AnoMem]
"""The detector of a preset, with labels or without."""


def config_of(preset: str, hasty: Config) -> Config:
    """The preset, small."""
    if preset == "pretrained":
        return replace(CONFIG, encoder=replace(CONFIG.encoder, width=8))
    if preset == "paper":
        return replace(hasty, stage2=replace(hasty.stage2, prior=None))
    return replace(
        hasty,
        loss=LossChoices(kind_weight=0.5, patch_weight=1.0, soft_class=100.0),
        score=ScoreChoices(mirror=True, upside_down=True, mahalanobis=True),
        stage2=replace(hasty.stage2, hidden=None),
    )


def shown(preset: str, images: Images) -> Images:
    """Squares as a preset is given them here: from scratch in colour, and small where it trains."""
    if preset == "pretrained":
        return images
    small = images[:, ::2, ::2]
    return small if preset == "paper" else np.stack([small, small[:, ::-1], 255 - small], 3)
