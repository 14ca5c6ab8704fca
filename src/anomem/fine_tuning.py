"""Training encoder and memories on with labelled anomalies: ``adapt`` at depth "encoder"."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from anomem.calibration import FEWEST_NORMALS, hold_out
from anomem.config import Config
from anomem.fitting import (
    Chosen,
    TrainingImages,
    all_digests,
    fill_reserve,
    measure_labelled,
    run_stage1,
    summary,
)
from anomem.network.deviation import MultiScaleMemory
from anomem.reserve import Reserve
from anomem.training.stage1 import ImageSet, Progress


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels: 0 normal, 1 anomalous, -1 to be forgotten."""

    images: ImageSet
    label: Tensor


def fine_tune(
    network: MultiScaleMemory,
    reserve: Reserve,
    labelled: LabelledImages,
    normals: ImageSet,
    config: Config,
    *,
    fabric: Fabric,
    steps: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Reserve, dict[str, Any]]:
    """Train encoder and memories on for a fifth of the steps of the fit, with all labels.

    Args:
        network: Trained in place.
        reserve: Of the network as it was.
        labelled: All labelled images, those of earlier labels too.
        normals: Normals of the fit and new ones; those held out before stay held out.
        config: Of the fit.
        fabric: Device and precision.
        steps: Steps of the fit.
        seed: Of every random draw.
        progress: Called with the steps done and in all.

    Returns:
        The reserve of the network as it is now, and the summary of the fine-tuning.

    Raises:
        ValueError: Images of earlier labels are missing.
    """
    digest = all_digests(labelled.images)
    missing = int((~torch.isin(reserve.labelled.digest, digest)).sum())
    if missing:
        raise ValueError(
            f"{missing} images labelled earlier are missing; a changed encoder must see them "
            "again: give all labelled images, with label -1 for those to forget."
        )
    known = torch.isin(all_digests(normals), reserve.held_out_digest).numpy()
    if known.sum() >= min(len(reserve.held_out), FEWEST_NORMALS):
        split = np.flatnonzero(~known), np.flatnonzero(known)
    else:
        split = hold_out(len(normals), config.calibration.share, seed)
    images = TrainingImages(
        Chosen(normals, torch.from_numpy(split[0])),
        Chosen(normals, torch.from_numpy(split[1])),
        Chosen(labelled.images, torch.nonzero(labelled.label == 1).flatten()),
    )
    state = run_stage1(
        network, images, _shortened(config, steps), fabric=fabric, seed=seed, progress=progress
    )
    fresh = fill_reserve(network, images, config, seed)
    keep = Chosen(labelled.images, torch.nonzero(labelled.label != -1).flatten())
    measured = measure_labelled(network, keep, labelled.label[keep.indices], fresh.normals)
    return fresh.with_labels(measured), summary(state, images)


def _shortened(config: Config, steps: int) -> Config:
    """The choices for a fine-tuning of the encoder: a fifth of the steps, a fifth of the rate."""
    few = max(1, steps // 5)
    return replace(
        config,
        stage1=replace(
            config.stage1,
            min_steps=few,
            max_steps=few,
            learning_rate=config.stage1.learning_rate / 5,
        ),
    )
