"""Training encoder and memories on with labelled anomalies: ``adapt`` at depth "encoder"."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from anomem.config import Config
from anomem.detector.adapt import labelled_images, with_bank
from anomem.detector.detector import Detector, usual_of
from anomem.detector.feature_bank import (
    FeatureBank,
    LabelledFeatures,
    LabelledImages,
    fill_bank,
)
from anomem.detector.fit import FitRun, summary, train_network
from anomem.detector.identity import identities, image_digests
from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import Chosen
from anomem.images.open import open_images
from anomem.images.prepare import PreparedFrames, prepare_frames
from anomem.images.source import ImageSource
from anomem.model.place_maps import fit_heat
from anomem.runtime.progress import StageProgress

_FEWEST_TRAINED_ON = 4
_FEWEST_HELD_OUT = 5


def fine_tune(
    detector: Detector,
    source: ImageSource,
    label: npt.NDArray[np.int64],
    normal: object,
    *,
    fabric: Fabric,
    progress: StageProgress | None = None,
) -> Detector:
    """Train encoder and memories on for a fifth of the steps of the fit, then the scorer.

    Args:
        detector: Left as it is.
        source: All labelled images, those of earlier labels too.
        label: (N,): 0 normal, 1 anomalous, -1 to take an earlier label back.
        normal: Normals of the fit and new ones; those held out before stay held out.
        fabric: Device and precision.
        progress: Called as ``progress(stage, done, total)``.

    Raises:
        ValueError: No normals are given, anomalies labelled earlier or the normals held out by the
            fit are missing, an anomaly is among the normals, or the detector knows further kinds.
    """
    if detector.network.of_places:
        raise ValueError(
            "the encoder of the model is frozen and its prototypes are places of normals, so that "
            "there is nothing that depth encoder could train; use depth heads."
        )
    labelled = labelled_images(detector, source, label, progress=progress)
    if normal is None:
        raise ValueError(
            "depth encoder trains on normals too; give them as normal, or use depth heads."
        )
    kinds = len(detector.heat) - 1
    if kinds:
        raise ValueError(
            f"the model has learnt {kinds} further kind{'s' * (kinds > 1)} of normal by "
            "extend, which depth encoder would forget; use depth heads, or fit on "
            "images of all kinds."
        )
    network = copy.deepcopy(detector.network)
    normals = prepare_frames(open_images(normal), detector.framing)
    images = _images(detector.bank, labelled, normals)
    config = _shortened(detector.config, detector.summary["steps"])
    run = FitRun(config, fabric, detector.seed, progress=progress)
    tuning = summary(train_network(network, images, run), images)
    heat = [fit_heat(network, images.normals, images.held_out, anywhere=detector.framing.cuts)]
    usual = usual_of(config, heat)
    fresh = fill_bank(network, images, heat[0].share, usual=usual)
    bank = _recognised(detector.bank, fresh, LabelledFeatures.of(network, labelled, usual))
    told = detector.summary | {"fine_tuning": tuning}
    return with_bank(replace(detector, network=network, heat=heat, summary=told), bank)


def _images(bank: FeatureBank, labelled: LabelledImages, normals: PreparedFrames) -> TrainingImages:
    """The images of a fine-tuning: held-out normals stay held out, all others are trained on."""
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
    return replace(
        TrainingImages.of(
            normals.frames,
            normals.image,
            np.zeros(normals.count, np.int64),
            split,
            identities([""] * normals.count, normals),
        ),
        anomalies=Chosen(labelled.images, torch.nonzero(labelled.label == 1).flatten()),
    )


def _recognised(known: FeatureBank, fresh: FeatureBank, labelled: LabelledFeatures) -> FeatureBank:
    """The bank of a network trained on, with what is known of its images from before."""
    labels = labelled.at(torch.zeros(0, dtype=torch.int64)).updated(labelled)
    learnt = torch.cat([known.learnt_pixels, labels.pixels[labels.label == 1]]).unique()
    return replace(known.recognised(fresh), labelled=labels, learnt_pixels=learnt)


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
