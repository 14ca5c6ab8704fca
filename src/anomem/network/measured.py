"""The deviations of images, reduced to what the detector reads."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """What is measured of N images.

    Attributes:
        scores: One-class score of each scale, (N, S) float32.
        pooled: Pooled deviations of all scales side by side, (N, sum C_s) float16; those of a scale
            are mean and, where it is pooled, standard deviation over places, of the image upright
            and, where that is measured, upside down.
        evidence: At each scale the log-odds of a labelled anomaly against a normal, as the heads of
            stage 1 tell them apart, (N, S) float32; 0 without such heads.
    """

    scores: Tensor
    pooled: Tensor
    evidence: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, indices: Tensor) -> Measured:
        """The images of some indices, or of a mask."""
        return Measured(*(getattr(self, field.name)[indices] for field in fields(self)))

    def cpu(self) -> Measured:
        """The same on the CPU."""
        return Measured(*(getattr(self, field.name).cpu() for field in fields(self)))

    def double(self) -> Measured:
        """The same in double precision."""
        return Measured(*(getattr(self, field.name).double() for field in fields(self)))

    @staticmethod
    def joined(parts: list[Measured]) -> Measured:
        """Several sets as one."""
        return Measured(
            *(
                torch.cat([getattr(part, field.name) for part in parts])
                for field in fields(Measured)
            )
        )
