"""A further kind of normal beside those that a detector knows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from anomem.detector.adapt import with_bank
from anomem.detector.detector import Detector, usual_of
from anomem.detector.feature_bank import FeatureBank, fill_bank
from anomem.detector.hold_out import FEWEST_NORMALS
from anomem.detector.identity import Identities, identities
from anomem.detector.odd_normals import without_odd_normals
from anomem.detector.origins import keep_origins
from anomem.detector.training_images import check_normals, training_images
from anomem.images.labels import check_labels
from anomem.images.prepare import prepare_frames
from anomem.images.source import ImageSource
from anomem.model.place_maps import fit_heat
from anomem.model.recall import without_allowed
from anomem.runtime.progress import StageProgress, stage
from anomem.training.prototypes import with_kind


def extend(
    detector: Detector,
    source: ImageSource,
    groups: Sequence[str] | None = None,
    *,
    progress: StageProgress | None = None,
) -> Detector:
    """Learn a kind of normal; encoder, learnt memories and labels stay as they are.

    Memories of places get prototypes of the new kind where theirs are far from it.

    Args:
        detector: Left as it is.
        source: Images, all normal.
        groups: Part, lot, subject or video of each image.
        progress: Called as ``progress(stage, done, total)``.

    Raises:
        ValueError: Too few normals, or unreadable images.
    """
    check_normals(check_labels(None, len(source)), groups)
    network, framing, config = without_allowed(detector.network), detector.framing, detector.config
    prepared = prepare_frames(source, framing, progress=stage(progress, "reading"))
    known = identities(source.names, prepared, groups)
    label = _leave_out_known(known, detector.bank)
    images = training_images(prepared, label, known, config, detector.seed)
    turns, sizes, seed = None, config.memory.sizes, detector.seed
    if network.of_places:
        network, turns = with_kind(network, images.normals, sizes, seed, apart=images.apart)
    heat = [*detector.heat, fit_heat(network, *images.for_heat, anywhere=framing.cuts)]
    new = fill_bank(network, images, heat[-1].share, turns, usual_of(config, heat))
    if turns is not None:
        gone = detector.bank.held_out_digest[detector.bank.held_out_odd]
        new = without_odd_normals(network, new, images, turns, detector.origins, gone)
    bank = detector.bank.extended(new)
    origins = keep_origins(network, [*detector.origins, *images.normals_origin])
    more = detector.summary["normals"] + len(images.normals_digest)
    extended = replace(
        detector,
        network=network,
        origins=origins,
        heat=heat,
        summary=detector.summary | {"normals": more},
    )
    return with_bank(extended, bank)


def _leave_out_known(known: Identities, bank: FeatureBank) -> npt.NDArray[np.int64]:
    """Label images given as a new kind of normal; those that the model has seen take no part.

    Returns:
        (N,) 0 for new images, -1 for those that it was trained on or that it held out.
    """
    digest, labelled = known.digest, bank.labelled
    anomalous = torch.isin(digest, labelled.digest[labelled.label == 1])
    if anomalous.any():
        name = known.names[int(anomalous.nonzero()[0])]
        raise ValueError(f"{name} was labelled anomalous; take the label back, or leave it out.")
    seen = torch.isin(digest, torch.cat([bank.trained_digest, bank.held_out_digest]))
    if seen.any():
        name = known.names[int(seen.nonzero()[0])]
        told = f"{int(seen.sum())} of {len(digest)} images, as {name}, are normals of the model"
        if int((~seen).sum()) < FEWEST_NORMALS:
            raise ValueError(f"{told}; give at least {FEWEST_NORMALS} new ones.")
        warnings.warn(f"{told} and are left out.", stacklevel=4)
    return -seen.numpy().astype(np.int64)
