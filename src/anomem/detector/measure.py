"""What a model keeps of the images of a training, measured by its network."""

from __future__ import annotations

from collections.abc import Sequence

from anomem.config import Config
from anomem.detector.detector import Detector, usual_of
from anomem.detector.feature_bank import FeatureBank, fill_bank
from anomem.detector.odd_normals import without_odd_normals
from anomem.detector.training_images import TrainingImages
from anomem.model.heat import HeatModel
from anomem.model.network import MultiScaleMemory
from anomem.training.prototypes import Turn


def measure(
    network: MultiScaleMemory,
    images: TrainingImages,
    turns: Sequence[Turn] | None,
    config: Config,
    heat: list[HeatModel],
    before: Detector | None = None,
) -> FeatureBank:
    """Fill the bank of the images of a training; normals unlike all others leave the memory.

    Args:
        network: In evaluation mode; without these odd normals afterwards.
        images: Of the training, one kind of normal.
        turns: By which networks held-out normals are measured, where each is held out in turn.
        config: Of the detector.
        heat: What is usual of each kind of normal, that of these images last.
        before: What has learnt the kinds before; None for the first kind.
    """
    bank = fill_bank(network, images, heat[-1].share, turns, usual_of(config, heat))
    if turns is None:
        return bank
    if before is None:
        return without_odd_normals(network, bank, images, turns)
    gone = before.bank.held_out_digest[before.bank.held_out_odd]
    return without_odd_normals(network, bank, images, turns, before.origins, gone)
