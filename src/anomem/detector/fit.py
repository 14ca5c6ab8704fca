"""A fit, from images to a detector, each step once and in order."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from anomem.config import Config
from anomem.config.presets import Automatic
from anomem.detector.adapt import adapt, recalling
from anomem.detector.choose_preset import choose_preset
from anomem.detector.detector import Detector, standing, usual_of
from anomem.detector.feature_bank import fill_bank
from anomem.detector.frame import choose_framing, typical_part
from anomem.detector.identity import content_digest, full_digests, identities, refuse_two_labels
from anomem.detector.new_network import by_architecture, new_network
from anomem.detector.odd_normals import without_odd_normals
from anomem.detector.origins import keep_origins
from anomem.detector.streamed import streamed_images
from anomem.detector.train_scorer import train_scorer
from anomem.detector.training_images import TrainingImages, check_normals, training_images
from anomem.detector.training_log import logged
from anomem.images.combined import choose
from anomem.images.framing import Framing
from anomem.images.labels import check_labels, with_anomalies
from anomem.images.open import open_images
from anomem.images.prepare import prepare_frames
from anomem.images.region import read_region
from anomem.images.source import ImageSource
from anomem.images.stream import check_streaming
from anomem.model.network import MultiScaleMemory
from anomem.model.place_maps import fit_heat
from anomem.runtime.device import threads_given_back
from anomem.runtime.loggers import TrainingLogger
from anomem.runtime.processes import joined, led, together
from anomem.runtime.progress import StageProgress, stage
from anomem.runtime.versions import library_versions
from anomem.training.checkpoint import Stage1File, Stage1State
from anomem.training.collapse import ScaleFigures, told_collapse
from anomem.training.first_prototypes import begin_at_normals
from anomem.training.optimisation import Clock
from anomem.training.prototypes import Turn, choose_prototypes
from anomem.training.stage1 import Stage1, resolve_steps, train_stage1


@dataclass(frozen=True)
class FitRun:
    """Says how a fit is run.

    Attributes:
        config: Every choice; where the preset is automatic, as far as they are given.
        fabric: Device, precision, and the processes that share stage 1.
        seed: Of every random draw.
        automatic: What is given where the preset is chosen when images have been seen, else None.
        preset: Which preset was chosen, and why; None where it was given.
        checkpoint: File that keeps the state of stage 1 as it goes; None keeps none.
        logs: Where the figures of stage 1 go, see :func:`~anomem.runtime.loggers.check_logs`.
        progress: Called as ``progress(stage, done, total)``.
    """

    config: Config
    fabric: Fabric
    seed: int
    automatic: Automatic | None = None
    preset: str | None = None
    checkpoint: Path | None = None
    logs: Sequence[str | TrainingLogger] = ()
    progress: StageProgress | None = None


def fit(
    X: object,
    y: npt.ArrayLike | None,
    run: FitRun,
    *,
    anomalies: object,
    groups: Sequence[str] | None,
    region: str | Path | npt.ArrayLike | None,
) -> Detector:
    """Fit a detector to images in memory; the arguments are those of ``AnoMem.fit``."""
    source = open_images(X)
    label = check_labels(y, len(source))
    check_normals(label, groups)
    if anomalies is not None:
        source, label = with_anomalies(source, label, open_images(anomalies))
    run, framing = look_at(source, region, run)
    later = None
    if framing.cuts and label.any():
        # Which tile of an anomaly shows it is known once there is a score.
        normals = np.flatnonzero(label == 0)
        later = choose(source, np.flatnonzero(label == 1))
        source, label = choose(source, normals), label[normals]
        groups = None if groups is None else [groups[index] for index in normals.tolist()]
    frames = prepare_frames(source, framing, progress=stage(run.progress, "reading"))
    known = identities(source.names, frames, groups)
    odd = known.where(label == 1)
    if later is not None:
        odd = identities(later.names, prepare_frames(later, framing))
    refuse_two_labels(known.where(label == 0), odd)
    images = training_images(frames, label, known, run.config, run.seed)
    if label.any():
        labelled = choose(source, np.flatnonzero(label == 1))
        images = replace(images, anomaly_pixels=full_digests(labelled, framing, odd.digest))
    detector = learn(images, framing, run)
    if later is not None:
        detector = adapt(detector, later, np.ones(len(later), dtype=np.int64))
    return detector


def fit_stream(
    X: object, run: FitRun, *, anomalies: object, region: str | Path | npt.ArrayLike | None
) -> Detector:
    """Fit a detector to a stream of images; the arguments are those of ``AnoMem.fit_stream``."""
    check_streaming()
    source = open_images(X)
    run, framing = look_at(source, region, run)
    images, stream = streamed_images(
        source, anomalies, framing, run.config, fabric=run.fabric, seed=run.seed
    )
    detector = learn(images, framing, run)
    errors = joined(run.fabric, stream.errors)
    if errors and run.fabric.is_global_zero:
        warnings.warn(
            f"{len(errors)} images could not be read and were left out, as "
            f"{next(iter(errors.values()))}",
            stacklevel=3,
        )
    return detector


def look_at(
    source: ImageSource, region: str | Path | npt.ArrayLike | None, run: FitRun
) -> tuple[FitRun, Framing]:
    """Choose, by what images are like, the preset if that is automatic, and the framing."""
    where = None if region is None else read_region(region)
    typical = typical_part(source, where)
    if run.automatic is not None:
        # Each node has the weights of its own.
        chosen = led(run.fabric, partial(choose_preset, run.automatic, typical))
        run = replace(run, config=chosen.config, automatic=None, preset=chosen.told)
    if run.config.memory.prototypes == "places" and run.fabric.is_global_zero:
        _warn_of_unused(run)
    return run, choose_framing(run.config, typical, where)


def _warn_of_unused(run: FitRun) -> None:
    """Tell what of a fit is asked for in vain: with memories of places there is no stage 1."""
    asked = []
    if run.fabric.world_size > 1:
        asked.append("devices or nodes above 1")
    # Every command keeps the figures in a file.
    asked += [f"the log {log}" for log in run.logs if not str(log).startswith("csv:")]
    if run.checkpoint is not None and run.checkpoint.exists():
        asked.append(f"the checkpoint {run.checkpoint}")
    for what in asked:
        warnings.warn(
            f"there is no stage 1 where prototypes are places of normals, for which {what} would "
            "count; leave it out.",
            stacklevel=4,
        )


@threads_given_back()
def learn(images: TrainingImages, framing: Framing, run: FitRun) -> Detector:
    """Learn from images that are ready.

    Held-out normals take part in nothing but the last lines, or in memories that do not measure
    them.

    Stage 1 trains encoder and memories (Algorithm 1), or prototypes are chosen among places of the
    normals; the heat model keeps what is usual at each place, the bank what they see of the images,
    and stage 2 trains the scorer (Eq. 7 to 9).
    """
    network = new_network(run.config, framing.shape, images.normals, run.fabric, run.seed)
    config = by_architecture(run.config, network)
    run = replace(run, config=config)
    with network.encoder.remembering():
        if network.of_places:
            trained, turns = choose_places(network, images, run)
        else:
            begin_prototypes(network, images, config, fabric=run.fabric, seed=run.seed)
            trained, turns = train_network(network, images, run), None
        heat = [fit_heat(network, *images.for_heat, anywhere=framing.cuts)]
        bank = fill_bank(network, images, heat[0].share, turns, usual_of(config, heat))
        if turns is not None:
            bank = without_odd_normals(network, bank, images, turns)
    scorer = train_scorer(bank, network.pooled_widths, config, run.seed)
    told = {
        "preset": run.preset,
        **summary(trained, images),
        "versions": library_versions(),
        **standing(bank),
    }
    origins = keep_origins(network, images.normals_origin)
    network = recalling(network, origins, bank)
    return Detector(config, framing, network, origins, scorer, heat, bank, told, run.seed)


def choose_places(
    network: MultiScaleMemory, images: TrainingImages, run: FitRun
) -> tuple[dict[str, Any], list[Turn] | None]:
    """Fill memories of places in place; what the summary says, and who measures what in turn."""
    start = time.monotonic()
    turns = choose_prototypes(
        network,
        images.normals,
        images.held_out,
        run.seed,
        apart=images.apart,
        progress=stage(run.progress, "memory"),
    )
    seconds = round(time.monotonic() - start, 1)
    # Of a stream no more than the sample is looked at.
    return {"normals": len(images.normals), "steps": 0, "seconds": seconds, "loss": None}, turns


def begin_prototypes(
    network: MultiScaleMemory, images: TrainingImages, config: Config, *, fabric: Fabric, seed: int
) -> None:
    """Take the first prototypes from training normals, where they are chosen to begin there."""
    if config.memory.start == "normals":
        with together(fabric):
            begin_at_normals(network, images.trained_on, config, fabric=fabric, seed=seed)


def train_network(network: MultiScaleMemory, images: TrainingImages, run: FitRun) -> dict[str, Any]:
    """Train a network in place; what the summary says of it."""
    with together(run.fabric):
        state, scales = run_stage1(network, images, run)
    return {
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "loss": state.loss if math.isfinite(state.loss) else None,
        "scales": [figures.as_json() for figures in scales],
        "collapse": told_collapse(scales, state.step, run.config.memory),
    }


def run_stage1(
    network: MultiScaleMemory, images: TrainingImages, run: FitRun
) -> tuple[Stage1State, list[ScaleFigures]]:
    """Train encoder and memories in place, keeping the state in the checkpoint as it goes."""
    stage1 = new_stage1(network, images, run.config, fabric=run.fabric, seed=run.seed)
    file = None
    if run.checkpoint is not None and run.fabric.is_global_zero:
        parts = (images.normals, images.held_out, images.anomalies)
        same = {
            "config": asdict(run.config),
            "seed": run.seed,
            "steps": stage1.steps,
            "images": [len(images.trained_on), *(content_digest(p) for p in parts if len(p))],
        }
        file = Stage1File(run.checkpoint, same)
    told = stage(run.progress, "stage 1")
    with logged(run.logs if run.fabric.is_global_zero else (), images, run.seed) as after:
        state = train_stage1(stage1, file=file, progress=told, after=after)
    return state, stage1.figures()


def new_stage1(
    network: MultiScaleMemory, images: TrainingImages, config: Config, *, fabric: Fabric, seed: int
) -> Stage1:
    """Build stage 1, before its first step."""
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


def summary(trained: Mapping[str, Any], images: TrainingImages) -> dict[str, Any]:
    """Give what a detector says of its training."""
    return {
        "normals": len(images.normals_digest if images.stream is None else images.trained_on),
        "anomalies": len(images.anomalies),
        **trained,
        "threads": torch.get_num_threads(),
    }
