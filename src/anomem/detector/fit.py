"""The road of training: images -> stage 1 -> stage 2, in the order it is walked."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from anomem.config import Config
from anomem.detector.calibrate import smallest_alpha
from anomem.detector.copies import tell_copies
from anomem.detector.feature_bank import FeatureBank
from anomem.detector.hold_out import check_enough, hold_out
from anomem.detector.identity import Identities, frame_digests
from anomem.detector.training_images import TrainingImages
from anomem.images.frame_shape import (
    TypicalImage,
    proportionate,
    proportionate_shape,
    square_shape,
    typical_image,
    what_is_lost,
)
from anomem.images.framing import Framing, around_region
from anomem.images.image_set import Chosen, floats_on, to_float
from anomem.images.region import Region, read_region
from anomem.images.resize import ImageShape
from anomem.images.source import ImageSource
from anomem.model.encoder import stride_of
from anomem.model.network import MultiScaleMemory
from anomem.model.scorer import Heads, Scorer
from anomem.runtime.progress import Progress
from anomem.training.checkpoint import Stage1File
from anomem.training.losses import scale_weights
from anomem.training.optimisation import Clock
from anomem.training.stage1 import Stage1, Stage1State, resolve_steps, train_stage1
from anomem.training.stage2 import train_stage2

NORMALISATION_SAMPLE = 2000
_LOG = logging.getLogger(__name__)
_LOOKED_AT = 200
_ALIKE = 1 / 255
"""Standard deviation of pixels, on a 0 to 1 scale, below which there is nothing to learn from: that
of a camera's noise is higher."""


def framing_of(config: Config, shape: ImageShape, region: Region | None) -> Framing:
    """How all images become frames of a shape, as chosen."""
    return Framing(config.images.framing, shape, region, config.images.reduced)


def new_framing(
    config: Config, source: ImageSource, region: str | Path | npt.ArrayLike | None
) -> Framing:
    """How the images of a fit become frames, where anomalies count in a region given or read.

    What the images lose is logged.
    """
    where = None if region is None else read_region(region)

    def part(size: tuple[int, int]) -> tuple[int, int]:
        box = around_region(where, size)
        return box.height, box.width

    typical = typical_image(source, part=part)
    shape = image_shape(config, typical)
    _LOG.info(what_is_lost(typical, config.images.framing, shape))
    return framing_of(config, shape, where)


def image_shape(config: Config, typical: TypicalImage) -> ImageShape:
    """Shape of all frames: as chosen, or as the images suggest.

    A size that is no height and width keeps the proportions of the images, its sides multiples of
    the stride of the first scale; letterboxes and tiles are square.
    """
    size = config.images.size
    if config.images.framing != "resize" or isinstance(size, tuple) or typical.aspect == 1:
        return _square_shape(config, typical)
    step = max(stride_of(config.encoder), 8)
    if size is None:
        shape = proportionate_shape(typical, step)
    else:
        height, width = proportionate(size, typical.aspect, step)
        shape = ImageShape(3 if typical.colour else 1, height, width)
    return replace(shape, channels=config.images.channels or shape.channels)


def square_image_shape(config: Config, source: ImageSource) -> ImageShape:
    """Shape of all images of methods that turn them: as :func:`image_shape` says, but square."""
    return _square_shape(config, typical_image(source))


def _square_shape(config: Config, typical: TypicalImage) -> ImageShape:
    inferred, size = square_shape(typical), config.images.size
    height, width = (
        (size, size) if isinstance(size, int) else size or (inferred.height, inferred.width)
    )
    return ImageShape(config.images.channels or inferred.channels, height, width)


def check_normals(label: npt.NDArray[np.int64], groups: Sequence[str] | None) -> None:
    """See that there are enough normals and groups before any image is read.

    Raises:
        ValueError: There are too few normals, all are of one group, or not each image has one.
    """
    normals = np.flatnonzero(label == 0).tolist()
    if groups is None:
        return check_enough(len(normals))
    if len(groups) != len(label):
        raise ValueError(f"there are {len(groups)} groups for {len(label)} images; give one each.")
    check_enough(len(normals), [groups[index] for index in normals])


def split_normals(
    label: npt.NDArray[np.int64], known: Identities, share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of the normals to train on, and of those to hold out.

    An image and its copies, near ones too, never lie on both sides.

    Args:
        label: (N,) 0 normal, 1 anomalous.
        known: By what the images are known.
        share: Of the normals to hold out.
        seed: Of the draw.

    Raises:
        ValueError: There are too few different normals, or all are of one group.

    Warns:
        UserWarning: Some are copies or near copies of others.
    """
    normals = np.flatnonzero(label == 0)
    group = known.group.numpy()[normals]
    tell_copies(known, normals)
    train, held_out = (normals[part] for part in hold_out(len(normals), share, seed, group))
    held_elsewhere = np.isin(known.shown.numpy()[train], known.shown.numpy()[held_out])
    return train[~held_elsewhere], held_out


def new_network(
    config: Config, shape: ImageShape, normals: Chosen, fabric: Fabric, seed: int
) -> MultiScaleMemory:
    """The untrained network, its input normalised by training normals."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MultiScaleMemory(config, shape.channels)
    _warn_of_constant(to_float(normals.spread(_LOOKED_AT).all()))
    sample = normals.spread(NORMALISATION_SAMPLE).all()
    network.encoder.normalise_by(sample)
    network = network.to(fabric.device)
    try:
        with torch.no_grad():
            network.eval().deviation_maps(floats_on(fabric.device, sample[:2]))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"encoder {config.encoder.name!r} does not take images of {shape.height} x "
            f"{shape.width} pixels ({str(error).splitlines()[0]}); set images.size."
        ) from error
    return network


def _warn_of_constant(images: Tensor) -> None:
    """Warn of normals (N, C, H, W) that are all the same picture, or each of one colour."""
    between, within = images.std(dim=0).mean(), images.std(dim=(2, 3)).mean()
    if min(between, within) >= _ALIKE:
        return
    what = "hardly differ from one another" if between < _ALIKE else "show hardly anything"
    warnings.warn(
        f"the training images {what} (a pixel varies by {255 * min(between, within):.2g} of 255), "
        "so that any other image has a score without meaning; look at the files.",
        stacklevel=2,
    )


def by_architecture(config: Config, network: MultiScaleMemory) -> Config:
    """The choices with the encoder under timm's own name, as a model is built again by it.

    An encoder of a hub or a folder is looked up there once, at the fit, and never by who loads the
    model.

    Raises:
        ValueError: The encoder is none that its architecture alone gives.
    """
    encoder = config.encoder
    if encoder.named_by_timm:
        return config
    architecture = network.encoder.backbone.pretrained_cfg["architecture"]
    named = replace(config, encoder=replace(encoder, name=architecture))
    with torch.device("meta"):
        again = MultiScaleMemory(named, len(network.encoder.mean), initialise=False)
    shapes, wanted = (
        {name: values.shape for name, values in each.state_dict().items()}
        for each in (again, network)
    )
    if shapes != wanted:
        raise ValueError(
            f"encoder {encoder.name!r} is not timm's {architecture!r} as it is; give that name, "
            "and a file of its weights as encoder.weights."
        )
    return named


def new_stage1(
    network: MultiScaleMemory,
    images: TrainingImages,
    config: Config,
    *,
    fabric: Fabric,
    seed: int,
) -> Stage1:
    """Stage 1 before its first step."""
    return Stage1(
        network,
        images.trained_on,
        images.anomalies if len(images.anomalies) else None,
        config,
        fabric=fabric,
        steps=resolve_steps(config.stage1, len(images.trained_on)),
        seed=seed,
        clock=Clock(config.stage1.max_seconds),
    )


def run_stage1(
    network: MultiScaleMemory,
    images: TrainingImages,
    config: Config,
    *,
    fabric: Fabric,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Stage1State:
    """Train encoder and memories, keeping the state in the checkpoint as it goes."""
    stage1 = new_stage1(network, images, config, fabric=fabric, seed=seed)
    keeper = None
    if checkpoint is not None and fabric.is_global_zero:
        run = {
            "config": asdict(config),
            "seed": seed,
            "steps": stage1.steps,
            "images": [len(images.trained_on), *_identity(images)],
        }
        keeper = Stage1File(checkpoint, run)
    return train_stage1(stage1, keeper=keeper, progress=progress)


def _identity(images: TrainingImages) -> list[str]:
    """Digests of the pixels of all images in memory: those trained on, held out and labelled."""
    parts = (images.normals, images.held_out, images.anomalies)
    return [
        hashlib.blake2b(frame_digests(part).numpy().tobytes(), digest_size=16).hexdigest()
        for part in parts
        if len(part)
    ]


def new_scorer(widths: tuple[int, ...], config: Config) -> Scorer:
    """The detector before stage 2."""
    return Scorer(
        Heads(widths, config.stage2.hidden),
        scale_weights(len(widths), config.loss.scale_weights),
        config.stage2.prior,
        mahalanobis=config.score.mahalanobis,
    )


def learnt_labels(bank: FeatureBank, config: Config) -> int:
    """Number of labelled anomalies that the heads of stage 1 speak for.

    None where there are no such heads, or where the encoder is frozen: it has learnt from no label.
    """
    if config.loss.kind_weight == 0 or config.encoder.frozen:
        return 0
    return int(bank.learnt().sum())


def train_scorer(bank: FeatureBank, widths: tuple[int, ...], config: Config, seed: int) -> Scorer:
    """Stage 2: the detector that the bank and its labels give."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer = new_scorer(widths, config)
    labelled = bank.labelled
    anomalous = labelled.label == 1
    normals = torch.cat([bank.normals.pooled, labelled.features.pooled[~anomalous]])
    held_out = bank.held_out_normals()
    scorer.fit_normals(normals, held_out)
    if anomalous.any():
        scorer.labels.fill_(int(anomalous.sum()))
        scorer.learnt.fill_(learnt_labels(bank, config))
        train_stage2(
            scorer.heads,
            normals,
            labelled.features.pooled[anomalous],
            scorer.lambdas,
            config.stage2,
        )
        scorer.fit_heads(held_out)
    return scorer.eval()


def summary(state: Stage1State, images: TrainingImages) -> dict[str, Any]:
    """What a model says of its training."""
    return {
        "normals": len(images.trained_on),
        "anomalies": len(images.anomalies),
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "loss": state.loss if math.isfinite(state.loss) else None,
        "threads": torch.get_num_threads(),
    }


def standing(bank: FeatureBank) -> dict[str, Any]:
    """What a model says of its labels and held-out normals, as they are now."""
    label = bank.labelled.label
    deciding = bank.deciding()
    groups, kinds = bank.held_out_group[deciding], bank.held_out_kind[deciding]
    fewest = min(len(groups[kinds == kind].unique()) for kind in kinds.unique())
    return {
        "held_out": int(deciding.sum()),
        "held_out_groups": len(groups.unique()),
        "held_out_kinds": len(kinds.unique()),
        "fewest_groups_of_a_kind": fewest,
        "set_aside": int(bank.held_out_aside.sum()),
        "labelled_anomalies": int((label == 1).sum()),
        "labelled_normals": int((label == 0).sum()),
        "smallest_alpha": smallest_alpha(fewest),
    }
