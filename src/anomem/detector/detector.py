"""What a fit gives: the parts of a detector, and what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anomem.config import Config
from anomem.decision.calibrate import smallest_alpha
from anomem.detector.feature_bank import FeatureBank
from anomem.detector.origins import Origin
from anomem.images.framing import Framing
from anomem.model.heat import HeatModel
from anomem.model.network import MultiScaleMemory
from anomem.model.scorer import Scorer


@dataclass(frozen=True)
class Detector:
    """Holds all that a fit gives, that every verb reads, and that a model folder keeps.

    Attributes:
        config: Every choice.
        framing: How images become frames of one shape.
        network: Encoder and memories.
        origins: The frames of which the prototypes of memories of places are, by number.
        scorer: Heads and their fusion with the one-class score.
        heat: What is usual at each place of an image, for each kind of normal.
        bank: What is kept of the images, to adapt and to calibrate.
        summary: The preset that the fit chose, and why; numbers of images, steps, seconds and loss
            of the training; library versions.
        seed: Of every random draw.
    """

    config: Config
    framing: Framing
    network: MultiScaleMemory
    origins: tuple[Origin, ...]
    scorer: Scorer
    heat: list[HeatModel]
    bank: FeatureBank
    summary: dict[str, Any]
    seed: int

    @property
    def usual(self) -> list[HeatModel]:
        """Give what is usual at each place, where the score rests on it; else nothing."""
        return usual_of(self.config, self.heat)


def usual_of(config: Config, heat: list[HeatModel]) -> list[HeatModel]:
    """Give what is usual at each place, where the score rests on it; else nothing.

    That is where it is chosen and the normals of the fit are aligned.
    """
    return heat if config.score.places and heat[0].aligned else []


def standing(bank: FeatureBank) -> dict[str, Any]:
    """Give what a summary says of the labels and the held-out normals, as they are now.

    ``held_out_by_kind`` are the images of each kind and their groups, ``held_out_in_turn`` those
    that the memory is made of too; ``left_out`` names those that are unlike the others and that
    nobody has labelled yet.
    """
    label = bank.labelled.label
    unlike = bank.held_out_odd & (bank.held_out_label() == -1) & ~bank.held_out_aside
    deciding = bank.deciding()
    groups, kinds = bank.held_out_group[deciding], bank.held_out_kind[deciding]
    of_kinds = [groups[kinds == kind] for kind in kinds.unique()]
    by_kind = [[len(kind), len(kind.unique())] for kind in of_kinds]
    return {
        "held_out": int(deciding.sum()),
        "held_out_groups": len(groups.unique()),
        "held_out_by_kind": by_kind,
        "held_out_in_turn": int(bank.held_out_in_turn[deciding].sum()),
        "left_out": [bank.held_out_name[index] for index in unlike.nonzero().flatten().tolist()],
        "set_aside": int(bank.held_out_aside.sum()),
        "labelled_anomalies": int((label == 1).sum()),
        "labelled_normals": int((label == 0).sum()),
        "smallest_alpha": smallest_alpha(min(groups for _, groups in by_kind)),
    }
