"""The images of a fit whose normals do not fit into memory: some of them read, all streamed."""

from __future__ import annotations

import numpy as np
import torch
from lightning_fabric import Fabric

from anomem.config import Config
from anomem.detector.hold_out import hold_out_some
from anomem.detector.identity import frame_digests, full_digests, identities, tell_copies
from anomem.detector.origins import origins_of
from anomem.detector.training_images import TrainingImages
from anomem.images.combined import choose
from anomem.images.framing import Framing
from anomem.images.image_set import Chosen, evenly, tensor_of
from anomem.images.labels import refuse_shared
from anomem.images.open import open_images
from anomem.images.prepare import PreparedFrames, PreparedImages, prepare_frames
from anomem.images.read import read
from anomem.images.source import ImageSource, StoredSource
from anomem.images.stream import Stream
from anomem.training.ranks import Ranks

_SAMPLE = 2000
"""Images that are read where all would be too many."""


def spread(source: ImageSource) -> ImageSource:
    """Choose at most 2,000 of the images, evenly spaced."""
    return choose(source, evenly(len(source), _SAMPLE).numpy())


def streamed_images(
    source: ImageSource,
    anomalies: object,
    framing: Framing,
    config: Config,
    *,
    fabric: Fabric,
    seed: int,
) -> tuple[TrainingImages, Stream]:
    """Read the held-out normals of a fit and a sample of the others into memory, and stream all.

    Those of the sample that cannot be read are left out of it.

    Args:
        source: Normals.
        anomalies: Images, all anomalous; None for none.
        framing: How images become frames, one each.
        config: Choices of the batch and of the share held out.
        fabric: Device, and the processes that share each batch.
        seed: Of the draws.

    Raises:
        ValueError: The images are not stored, would be cut into tiles, or are too few.
    """
    stored, labelled = _streamable(source, framing), None
    if anomalies is not None:
        labelled = open_images(anomalies)
        refuse_shared(source, labelled)
    held_out = hold_out_some(len(source), config.calibration.share, seed)
    # In order, as rows of Parquet files are read group by group.
    wanted = np.union1d(evenly(len(source), _SAMPLE).numpy(), held_out)
    chosen = choose(source, wanted)
    sample = read(chosen, range(len(chosen)), framing)
    frames = PreparedImages(tensor_of(sample.images))
    is_held = torch.from_numpy(np.isin(wanted[sample.image], held_out))
    known = identities(
        [chosen.names[index] for index in sample.image.tolist()],
        PreparedFrames(frames, torch.arange(len(frames)), len(frames)),
    )
    copied = ~is_held & torch.isin(known.shown, known.shown[is_held])
    normals, held = (torch.nonzero(part).flatten() for part in (~is_held & ~copied, is_held))
    if not len(normals) or not len(held):
        raise ValueError(f"too few images can be read: {next(iter(sample.errors.values()))}")
    tell_copies(known, np.arange(len(frames)))
    batch = min(config.stage1.batch, len(source) - len(held_out))
    stream = _stream(stored, held_out.tolist(), framing, batch, fabric, seed)
    stream.errors |= {chosen.names[index]: str(why) for index, why in sample.errors.items()}
    odd = _anomalies(labelled, framing, frames)
    images = TrainingImages(
        Chosen(frames, normals),
        known.digest[normals],
        origins_of(known, normals),
        Chosen(frames, held),
        torch.arange(len(held)),
        known.at(held),
        odd,
        None if labelled is None else full_digests(labelled, framing, frame_digests(odd)),
        stream=stream,
    )
    return images, stream


def _streamable(source: ImageSource, framing: Framing) -> StoredSource:
    if not isinstance(source, StoredSource):
        raise ValueError("only files, URLs and Parquet files are streamed; give a path to them.")
    if framing.cuts:
        raise ValueError("tiles are not streamed; stretch or letterbox the images, or give fewer.")
    return source


def _stream(
    source: StoredSource,
    held_out: list[int],
    framing: Framing,
    batch: int,
    fabric: Fabric,
    seed: int,
) -> Stream:
    """The stream of all but the held-out normals, of which this process has its part."""
    ranks = Ranks.of(fabric)
    return Stream(
        source,
        held_out,
        framing,
        batch=ranks.even(batch) // ranks.world,
        seed=seed,
        rank=ranks.rank,
        world=ranks.world,
        decode_ahead=fabric.device.type != "cpu",
    )


def _anomalies(source: ImageSource | None, framing: Framing, like: PreparedImages) -> Chosen:
    if source is None:
        return Chosen(like, torch.zeros(0, dtype=torch.int64))
    return Chosen.of(prepare_frames(source, framing).frames)
