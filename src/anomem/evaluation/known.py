"""Which images of an evaluation the detector knows already, told by their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomem.detector.feature_bank import FeatureBank


@dataclass(frozen=True)
class Known:
    """How many of the images of an evaluation are not new.

    Attributes:
        images: How many there are.
        labelled: Of them, how many have been labelled.
        trained: How many others were trained on.
        held_out: How many others were held out of the training to set the threshold.
        copies: How many have the pixels of an earlier one among them.
        whole: Whether the model remembers every image that it was trained on.
    """

    images: int
    labelled: int
    trained: int
    held_out: int
    copies: int
    whole: bool

    def __str__(self) -> str:
        """What is known and what is there twice, in words; empty where there is nothing."""
        seen = self.labelled + self.trained + self.held_out
        more = "" if self.whole else " or more"
        lines = []
        if seen:
            lines.append(
                f"{seen} of {self.images} images are known to the model by their pixels "
                f"({self.labelled} labelled, {self.trained}{more} trained on, {self.held_out} held "
                "out for the threshold), so that figures may be better than on new ones"
            )
        if self.copies:
            lines.append(
                f"{self.copies} of {self.images} images are copies of others, pixel by pixel, and "
                "count again"
            )
        return "; ".join(lines)

    def as_json(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "labelled": self.labelled,
            "trained": self.trained,
            "held_out": self.held_out,
            "copies": self.copies,
        }


def known_among(digest: Tensor, bank: FeatureBank, trained: int) -> Known:
    """Count the images that a model knows.

    Args:
        digest: (N,) int64, of the pixels of the images as the model measures them.
        bank: Of the model.
        trained: How many normals it was trained on; of these it remembers 1,000.
    """
    labels = bank.labelled
    labelled = torch.isin(digest, torch.cat([labels.digest, labels.pixels]))
    held_out = torch.isin(digest, bank.held_out_digest) & ~labelled
    learnt = torch.cat([bank.trained_digest, bank.learnt_pixels])
    trained_on = torch.isin(digest, learnt) & ~labelled & ~held_out
    return Known(
        images=len(digest),
        labelled=int(labelled.sum()),
        trained=int(trained_on.sum()),
        held_out=int(held_out.sum()),
        copies=len(digest) - len(digest.unique()),
        whole=trained <= len(bank.trained_digest),
    )
