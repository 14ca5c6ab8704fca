"""The road of training: images -> stage 1 -> reserve -> stage 2, in the order it is walked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from anomem.calibration import smallest_alpha
from anomem.checkpoint import Stage1File
from anomem.config import Config
from anomem.data.shape import ImageShape, infer_shape
from anomem.data.sources import ImageSource
from anomem.network.deviation import MultiScaleMemory
from anomem.network.encoder import to_float
from anomem.network.heads import Detector, Heads
from anomem.network.measured import Measured
from anomem.reserve import MOST_KEPT, Labelled, Reserve
from anomem.scoring import batches, digests, measure, measure_set
from anomem.training.batches import ImageSet
from anomem.training.descent import Clock
from anomem.training.draws import seeded
from anomem.training.losses import scale_weights
from anomem.training.pseudo import pseudo_anomalies
from anomem.training.stage1 import (
    Progress,
    Stage1,
    Stage1State,
    resolve_steps,
    train_stage1,
)
from anomem.training.stage2 import train_stage2

NORMALISATION_SAMPLE = 2000


@dataclass(frozen=True)
class Chosen:
    """Some images of a set, by index."""

    images: ImageSet
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @staticmethod
    def of(images: ImageSet) -> Chosen:
        """All images of a set, to choose from."""
        return Chosen(images, torch.arange(len(images)))

    def take(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) of indices into the chosen ones."""
        return self.images.take(self.indices[indices])

    def all(self) -> Tensor:
        """All of them, (N, C, H, W)."""
        return self.take(torch.arange(len(self)))

    def spread(self, most: int) -> Chosen:
        """At most so many of them, evenly spaced."""
        if len(self) <= most:
            return self
        return Chosen(
            self.images, self.indices[torch.linspace(0, len(self) - 1, most).round().long()]
        )


@dataclass(frozen=True)
class TrainingImages:
    """The images of a fit: normals to train on, normals held out, labelled anomalies."""

    normals: Chosen
    held_out: Chosen
    anomalies: Chosen

    @staticmethod
    def of(
        images: ImageSet,
        label: npt.NDArray[np.int64],
        split: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    ) -> TrainingImages:
        """Choose by label, and by a split of the normals counted among themselves."""
        normals = np.flatnonzero(label == 0)
        parts = (normals[split[0]], normals[split[1]], np.flatnonzero(label == 1))
        return TrainingImages(*(Chosen(images, torch.from_numpy(part)) for part in parts))


def make_fabric(device: str) -> Fabric:
    """Lightning Fabric on a device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Training runs in bf16 on a GPU and in float32 elsewhere.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise ValueError(f"device is {device!r}; give auto, cpu, cuda, cuda:1 or mps.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r} but no GPU is at hand; give cpu or auto.")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {device!r} but there are {torch.cuda.device_count()} GPUs; give cuda:0."
        )
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return Fabric(
        accelerator=kind,
        devices=[int(number)] if number else 1,
        precision="bf16-mixed" if kind == "cuda" else "32-true",
    )


def image_shape(config: Config, source: ImageSource) -> ImageShape:
    """What all images are brought to: as chosen, or as the images suggest."""
    inferred = infer_shape(source)
    height, width = config.images.size or (inferred.height, inferred.width)
    return ImageShape(config.images.channels or inferred.channels, height, width)


def new_network(
    config: Config, shape: ImageShape, normals: Chosen, fabric: Fabric, seed: int
) -> MultiScaleMemory:
    """The untrained network, its input normalised by training normals."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MultiScaleMemory(config, shape.channels)
    sample = normals.spread(NORMALISATION_SAMPLE).all()
    network.encoder.normalise_by(sample)
    network = network.to(fabric.device)
    try:
        with torch.no_grad():
            network.eval().deviation_maps(to_float(sample[:2].to(fabric.device)))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"encoder {config.encoder.name!r} does not take images of {shape.height} x "
            f"{shape.width} pixels ({str(error).splitlines()[0]}); set images.size."
        ) from error
    return network


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
        images.normals,
        images.anomalies if len(images.anomalies) else None,
        config,
        fabric=fabric,
        steps=resolve_steps(config.stage1, len(images.normals)),
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
    if checkpoint is not None:
        run = {
            "config": asdict(config),
            "seed": seed,
            "steps": stage1.steps,
            "images": [len(images.normals), len(images.anomalies)],
            "pixels": [f"{v:.5f}" for v in network.encoder.mean.flatten().tolist()],
        }
        keeper = Stage1File(checkpoint, run)
    return train_stage1(stage1, keeper=keeper, progress=progress)


def fill_reserve(
    network: MultiScaleMemory, images: TrainingImages, config: Config, seed: int
) -> Reserve:
    """Measure what the model keeps of the images."""
    normals, held_out = (part.spread(MOST_KEPT) for part in (images.normals, images.held_out))
    normal = measure_set(network, normals)
    anomalous = torch.ones(len(images.anomalies), dtype=torch.int64)
    return Reserve(
        normals=normal,
        held_out=measure_set(network, held_out),
        held_out_digest=all_digests(held_out),
        pseudo=_measure_pseudo(network, normals, config, seed) or normal.at(torch.arange(0)),
        labelled=Labelled.none(normal).updated(
            measure_labelled(network, images.anomalies, anomalous, normal)
        ),
        learnt=len(images.anomalies),
    )


def measure_labelled(
    network: MultiScaleMemory, images: ImageSet, label: Tensor, like: Measured
) -> Labelled:
    """Measure labelled images; ``like`` gives the widths where there are none."""
    if len(images) == 0:
        return Labelled.none(like)
    return Labelled(measure_set(network, images), label, all_digests(images))


def all_digests(images: ImageSet) -> Tensor:
    """Digest of each image of a set, at least one, (N,) int64."""
    return torch.cat([digests(batch) for _, batch in batches(images)])


def _measure_pseudo(
    network: MultiScaleMemory, normals: Chosen, config: Config, seed: int
) -> Measured | None:
    kinds = (*config.pseudo.kinds, *(["cutpaste"] if config.loss.patch_weight > 0 else []))
    if not kinds:
        return None
    parts = []
    for start, batch in batches(normals):
        generator = seeded(seed + 3, start)
        altered, _ = pseudo_anomalies(to_float(batch), kinds, generator)
        parts.append(measure(network, altered))
    return Measured.joined(parts)


def new_detector(widths: tuple[int, ...], config: Config) -> Detector:
    """The detector before stage 2."""
    return Detector(
        Heads(widths, config.stage2.hidden),
        scale_weights(len(widths), config.loss.scale_weights),
        config.stage2.prior,
        mahalanobis=config.score.mahalanobis,
    )


def train_detector(
    reserve: Reserve, widths: tuple[int, ...], config: Config, seed: int
) -> Detector:
    """Stage 2: the detector that the reserve and its labels give."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = new_detector(widths, config)
    detector.fit_normals(reserve.normals)
    labelled = reserve.labelled
    anomalous = labelled.label == 1
    if anomalous.any():
        detector.labels.fill_(int(anomalous.sum()))
        detector.learnt.fill_(reserve.learnt if config.loss.kind_weight > 0 else 0)
        train_stage2(
            detector.heads,
            torch.cat([reserve.normals.pooled, labelled.measured.pooled[~anomalous]]),
            labelled.measured.pooled[anomalous],
            reserve.pseudo.pooled,
            config.stage2,
        )
    return detector.eval()


def summary(state: Stage1State, images: TrainingImages) -> dict[str, Any]:
    """What a model says of its training."""
    return {
        "normals": len(images.normals),
        "held_out": len(images.held_out),
        "anomalies": len(images.anomalies),
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "loss": state.loss,
        "smallest_alpha": smallest_alpha(min(len(images.held_out), MOST_KEPT)),
    }
