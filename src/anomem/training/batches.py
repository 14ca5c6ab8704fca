"""The labelled images of each training step, before their views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from anomem.config import PseudoChoices, Stage1Choices
from anomem.images.image_set import ImageSet, floats_on
from anomem.runtime.device import free_memory
from anomem.training.draws import Draws
from anomem.training.pseudo import pseudo_anomalies
from anomem.training.ranks import ALONE, Ranks

_GPU_SHARE = 0.25
"""Share of the free memory of a GPU that the normals may take, and the anomalies of the rest."""
_CHUNK = 1024
"""Images brought to a GPU at a time."""
_PRIOR = 30
"""Labelled anomalies that have half the part of many in a training."""


def part_of_labels(labels: int) -> float:
    """Give the part that so many labelled anomalies have in a training, from 0 to 1 for many.

    ``n / (n + 30)``: few are soon learnt by heart, and what is then learnt of them tells no other
    anomaly (docs/lab-book/recipe.md).

    Example:
        >>> [round(part_of_labels(labels), 2) for labels in (0, 1, 30, 250)]
        [0.0, 0.03, 0.5, 0.89]
    """
    return labels / (labels + _PRIOR)


@runtime_checkable
class Steps(Protocol):
    """Gives images step by step, those of this process alone."""

    def __len__(self) -> int: ...

    def begin(self, step: int) -> None:
        """Get ready for a step, however long that takes."""
        ...

    def at(self, step: int) -> Tensor:
        """Give the images (B, C, H, W), uint8 or uint16, of a step counted from 0."""
        ...


@dataclass(frozen=True)
class Batch:
    """Holds the images of a step, normals first.

    Attributes:
        images: (B, C, H, W), floats in [0, 1].
        kind: (B,): 0 is normal, 1 a labelled anomaly, and 2, 3, ... the kinds of pseudo-anomalies
            in order.
        normals: Number of normals.
    """

    images: Tensor
    kind: Tensor
    normals: int


class Batches:
    """Draws normals, labelled anomalies and pseudo-anomalies for each step.

    Args:
        normals: Training normals, drawn here, or as they come step by step.
        anomalies: Labelled anomalies, drawn in balance with the normals; None for none.
        choices: Of the batch and of the share of anomalies in it.
        pseudo: Of the pseudo-anomalies made of the normals.
        seed: Of the draws.
        device: Where the batch is put.
        ranks: Processes that share each batch; every one has its own rows of it.
    """

    def __init__(
        self,
        normals: ImageSet | Steps,
        anomalies: ImageSet | None,
        choices: Stage1Choices,
        pseudo: PseudoChoices,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.pseudo, self.device, self.ranks = pseudo, device, ranks
        batch = ranks.even(min(choices.batch, len(normals)))
        self.normals = (
            normals if isinstance(normals, Steps) else Drawn(normals, batch, seed, device, ranks)
        )
        self.anomalies: Drawn | None = None
        if anomalies is not None:
            share = choices.anomaly_share or len(anomalies) / len(normals)
            wanted = ranks.even(min(round(batch * share), len(anomalies)))
            self.anomalies = Drawn(anomalies, wanted, seed + 1, device, ranks)

    def begin(self, step: int) -> None:
        """Get ready for a step of a training that goes on, before its clock does."""
        if isinstance(self.normals, Steps):
            self.normals.begin(step)

    def at(self, step: int) -> Batch:
        """Draw the own images of a step, counted from 0."""
        normal = floats_on(self.device, self.normals.at(step))
        parts = [normal]
        kinds = [torch.zeros(len(normal), dtype=torch.int64, device=self.device)]
        if self.anomalies is not None:
            parts.append(floats_on(self.device, self.anomalies.at(step)))
            kinds.append(torch.ones_like(kinds[0][:1]).expand(len(parts[-1])))
        if self.pseudo.kinds:
            turned, kind = pseudo_anomalies(normal, self.pseudo.kinds, self.ranks)
            parts.append(turned)
            kinds.append(2 + kind)
        return Batch(torch.cat(parts), torch.cat(kinds), len(normal))


class Drawn:
    """Draws images from a set, a batch a step, of which each process has its rows.

    Args:
        images: The set, brought to a GPU if it leaves most of it free.
        batch: Images a step, of all processes.
        seed: Of the draws.
        device: Where they are wanted.
        ranks: The processes.
    """

    def __init__(
        self, images: ImageSet, batch: int, seed: int, device: torch.device, ranks: Ranks
    ) -> None:
        self.images, held_on = images, torch.device("cpu")
        if device.type == "cuda":
            taken = len(images) * images.take(torch.arange(1)).nbytes
            if taken <= _GPU_SHARE * free_memory(device):
                self.images, held_on = OnDevice(images, device), device
        self.draws, self.ranks = Draws(len(images), batch, seed, held_on), ranks

    def __len__(self) -> int:
        return len(self.images)

    def at(self, step: int) -> Tensor:
        """Draw the images of a step, (B, C, H, W)."""
        return self.images.take(self.ranks.own(self.draws.indices(step)))


class OnDevice:
    """Holds all images of a set in the memory of a device."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        one = images.take(torch.arange(1))
        self.images = torch.empty((len(images), *one.shape[1:]), dtype=one.dtype, device=device)
        for indices in torch.arange(len(images)).split(_CHUNK):
            self.images[indices[0] : indices[-1] + 1] = images.take(indices)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Tensor:
        """Take the images (B, C, H, W) of indices on the device."""
        return self.images[indices]
