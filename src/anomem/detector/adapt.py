"""Training encoder and memories on with labelled anomalies: ``adapt`` at depth "encoder"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from anomem.config import Config
from anomem.detector.feature_bank import FeatureBank, LabelledFeatures
from anomem.detector.fit import run_stage1, summary
from anomem.detector.identity import identities, image_digests
from anomem.detector.measuring import LabelledImages, extract_labelled, fill_bank
from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import Chosen
from anomem.images.prepare import PreparedFrames
from anomem.model.network import MultiScaleMemory
from anomem.runtime.progress import Progress

_FEWEST_TRAINED_ON = 4
_FEWEST_HELD_OUT = 5


def fine_tune(
    network: MultiScaleMemory,
    bank: FeatureBank,
    labelled: LabelledImages,
    normals: PreparedFrames,
    config: Config,
    *,
    fabric: Fabric,
    steps: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[FeatureBank, TrainingImages, dict[str, Any]]:
    """Train encoder and memories on for a fifth of the steps of the fit, with all labels.

    Args:
        network: Trained in place.
        bank: Of the network as it was.
        labelled: All labelled images, those of earlier labels too.
        normals: Normals of the fit and new ones; those held out before stay held out.
        config: Of the fit.
        fabric: Device and precision.
        steps: Steps of the fit.
        seed: Of every random draw.
        progress: Called with the steps done and in all.

    Returns:
        The bank of the network as it is now, the images it was trained on, and the summary of
        the fine-tuning.

    Raises:
        ValueError: Anomalies labelled earlier, or the normals held out by the fit, are missing, or
            an anomaly is among the normals.
    """
    anomalous = bank.labelled.pixels[bank.labelled.label == 1]
    missing = int((~torch.isin(anomalous, labelled.pixels)).sum())
    if missing:
        raise ValueError(
            f"{missing} anomalies labelled earlier are missing; a changed encoder must see them "
            "again: give all of them, with label -1 for those to forget."
        )
    digest = image_digests(normals.frames, normals.image)
    shared = int(torch.isin(digest, labelled.digest[labelled.label == 1]).sum())
    if shared:
        raise ValueError(
            f"{shared} of the {normals.count} normals are among the images labelled anomalous; "
            "keep them apart."
        )
    known = torch.isin(digest, bank.held_out_digest)
    least = min(len(bank.held_out_digest), _FEWEST_HELD_OUT)
    if int(known.sum()) < least or int((~known).sum()) < _FEWEST_TRAINED_ON:
        raise ValueError(
            f"{int(known.sum())} of the {normals.count} normals were held out by the fit, where at "
            f"least {least} and not all should be; give the normals of the fit, and new ones."
        )
    split = (torch.nonzero(~known).flatten().numpy(), torch.nonzero(known).flatten().numpy())
    images = replace(
        TrainingImages.of(
            normals.frames,
            normals.image,
            np.zeros(normals.count, np.int64),
            split,
            identities([""] * normals.count, normals),
        ),
        anomalies=Chosen(labelled.images, torch.nonzero(labelled.label == 1).flatten()),
    )
    state = run_stage1(
        network, images, _shortened(config, steps), fabric=fabric, seed=seed, progress=progress
    )
    fresh = bank.recognised(fill_bank(network, images))
    labels = LabelledFeatures.none(fresh.normals).updated(extract_labelled(network, labelled))
    learnt = torch.cat([bank.learnt_pixels, labels.pixels[labels.label == 1]]).unique()
    fresh = replace(fresh, labelled=labels, learnt_pixels=learnt)
    return fresh, images, summary(state, images)


def _shortened(config: Config, steps: int) -> Config:
    """The choices for a fine-tuning of the encoder: a fifth of the steps, a fifth of the rate."""
    few = max(1, steps // 5)
    return replace(
        config,
        stage1=replace(
            config.stage1,
            min_steps=few,
            max_steps=few,
            max_seconds=None
            if config.stage1.max_seconds is None
            else config.stage1.max_seconds / 5,
            learning_rate=config.stage1.learning_rate / 5,
        ),
    )
