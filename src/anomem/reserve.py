"""What a model keeps of the images it has seen: enough to adapt and to calibrate without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from anomem.network.measured import Measured
from anomem.training.draws import evenly

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
        normals: Frames of training normals, at most 1,000.
        held_out: All frames of the normals held out for calibration, at most 1,000 images.
        held_out_image: (F,) int64, number of the image of each such frame.
        held_out_digest: (N,) int64, by which these images are known again.
        held_out_group: (N,) int64, number of the group of each, not the same in two kinds.
        held_out_kind: (N,) int64, number of the kind of normal of each: 0 for that of the fit, then
            counting those that were learnt since.
        labelled: All labelled images.
        learnt: Number of labelled anomalies that stage 1 learnt from.
    """

    normals: Measured
    held_out: Measured
    held_out_image: Tensor
    held_out_digest: Tensor
    held_out_group: Tensor
    held_out_kind: Tensor
    labelled: Labelled
    learnt: int

    def calibrating(self) -> tuple[Measured, Tensor]:
        """Held-out normals that nobody has labelled since: those on which decisions rest.

        Returns:
            Their frames, and the number of the image of each.
        """
        free = ~torch.isin(self.held_out_digest, self.labelled.digest)[self.held_out_image]
        return self.held_out.at(free), self.held_out_image[free]

    def with_labels(self, labelled: Labelled) -> Reserve:
        """The same with other labels."""
        return replace(self, labelled=labelled)

    def extended(self, newer: Reserve) -> Reserve:
        """With the normals of another reserve of the same network beside its own; labels stay."""
        normals = Measured.joined([self.normals, newer.normals])
        return replace(
            self,
            normals=normals.at(evenly(len(normals), MOST_KEPT)),
            held_out=Measured.joined([self.held_out, newer.held_out]),
            held_out_image=torch.cat(
                [self.held_out_image, newer.held_out_image + len(self.held_out_digest)]
            ),
            held_out_digest=torch.cat([self.held_out_digest, newer.held_out_digest]),
            held_out_group=torch.cat(
                [self.held_out_group, newer.held_out_group + self.held_out_group.max() + 1]
            ),
            held_out_kind=torch.cat(
                [self.held_out_kind, newer.held_out_kind + self.held_out_kind.max() + 1]
            ),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor, by name."""
        named = {
            "held_out.image": self.held_out_image,
            "held_out.digest": self.held_out_digest,
            "held_out.group": self.held_out_group,
            "held_out.kind": self.held_out_kind,
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
            tensors["held_out.image"],
            tensors["held_out.digest"],
            tensors["held_out.group"],
            tensors["held_out.kind"],
            labelled,
            int(tensors["learnt"]),
        )

    def _parts(self) -> Iterator[tuple[str, Measured]]:
        yield "normals", self.normals
        yield "held_out", self.held_out
        yield "labelled", self.labelled.measured
