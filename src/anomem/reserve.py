"""What a model keeps of the images it has seen: enough to adapt and to calibrate without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from anomem.network.measured import Measured

MOST_KEPT = 1000


@dataclass(frozen=True)
class Labelled:
    """Labelled images: their measures, labels and digests.

    Attributes:
        measured: N images.
        label: (N,) int64, 0 normal, 1 anomalous.
        digest: (N,) int64, tells whether an image has been labelled before.
    """

    measured: Measured
    label: Tensor
    digest: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def at(self, indices: Tensor) -> Labelled:
        """The images of some indices, or of a mask."""
        return Labelled(self.measured.at(indices), self.label[indices], self.digest[indices])

    @staticmethod
    def none(like: Measured) -> Labelled:
        """No labelled image; ``like`` gives the widths."""
        nothing = torch.zeros(0, dtype=torch.int64)
        return Labelled(like.at(nothing), nothing, nothing)

    def updated(self, newer: Labelled) -> Labelled:
        """Add labels; an image labelled again takes its newer label, and -1 takes it back."""
        kept = self.at(~torch.isin(self.digest, newer.digest))
        last = {int(digest): index for index, digest in enumerate(newer.digest)}
        given = [i for i in sorted(last.values()) if int(newer.label[i]) != -1]
        added = newer.at(torch.tensor(given, dtype=torch.int64))
        return Labelled(
            Measured.joined([kept.measured, added.measured]),
            torch.cat([kept.label, added.label]),
            torch.cat([kept.digest, added.digest]),
        )


@dataclass(frozen=True)
class Reserve:
    """All that stays of the images; its size does not grow with the training set.

    Attributes:
        normals: Training normals, at most 1,000.
        held_out: Normals held out for calibration, at most 1,000.
        held_out_digest: (N,) int64, by which they are known again.
        pseudo: Pseudo-anomalies made of training normals, at most 1,000; may be empty.
        labelled: All labelled images.
        learnt: Number of labelled anomalies that stage 1 learnt from.
    """

    normals: Measured
    held_out: Measured
    held_out_digest: Tensor
    pseudo: Measured
    labelled: Labelled
    learnt: int

    def calibrating(self) -> Measured:
        """Held-out normals that nobody has labelled since: those on which decisions rest."""
        return self.held_out.at(~torch.isin(self.held_out_digest, self.labelled.digest))

    def with_labels(self, labelled: Labelled) -> Reserve:
        """The same with other labels."""
        return replace(self, labelled=labelled)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor, by name."""
        named = {
            "held_out.digest": self.held_out_digest,
            "labelled.label": self.labelled.label,
            "labelled.digest": self.labelled.digest,
            "learnt": torch.tensor(self.learnt),
        }
        for name, measured in self._parts():
            named |= {f"{name}.{f.name}": getattr(measured, f.name) for f in fields(measured)}
        return named

    @staticmethod
    def of(tensors: dict[str, Tensor]) -> Reserve:
        """The reserve from its tensors."""

        def measured(name: str) -> Measured:
            return Measured(*(tensors[f"{name}.{field.name}"] for field in fields(Measured)))

        labelled = Labelled(
            measured("labelled"), tensors["labelled.label"], tensors["labelled.digest"]
        )
        return Reserve(
            measured("normals"),
            measured("held_out"),
            tensors["held_out.digest"],
            measured("pseudo"),
            labelled,
            int(tensors["learnt"]),
        )

    def _parts(self) -> Iterator[tuple[str, Measured]]:
        yield "normals", self.normals
        yield "held_out", self.held_out
        yield "pseudo", self.pseudo
        yield "labelled", self.labelled.measured
