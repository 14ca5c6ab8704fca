"""Images that stand more than once among those of a fit."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.detector.feature_bank import FeatureBank
from anomem.detector.hold_out import FEWEST_NORMALS
from anomem.detector.identity import Identities

_FEW = 0.01
"""Share of near copies of which no more is said: they move the rate of false alarms by less."""


def refuse_two_labels(normal: Identities, anomalous: Identities) -> None:
    """See that no image is given as normal and, the same pixels again, as anomalous.

    Raises:
        ValueError: One is.
    """
    _, one, other = np.intersect1d(normal.digest, anomalous.digest, return_indices=True)
    if len(one):
        raise ValueError(
            f"{normal.names[one[0]]} is among the normals and, with the same pixels, "
            f"{anomalous.names[other[0]]} among the anomalies; leave out one of them."
        )


def leave_out_known(known: Identities, bank: FeatureBank) -> npt.NDArray[np.int64]:
    """Label images given as a new kind of normal; those that the model has seen take no part.

    Args:
        known: By what the images are known.
        bank: Of the model.

    Returns:
        (N,) 0 for new images, -1 for those that it was trained on or that it held out.

    Raises:
        ValueError: One was labelled anomalous, or too few are new.

    Warns:
        UserWarning: Some are not new.
    """
    digest, labelled = known.digest, bank.labelled
    anomalous = torch.isin(digest, labelled.digest[labelled.label == 1])
    if anomalous.any():
        name = known.names[int(anomalous.nonzero()[0])]
        raise ValueError(f"{name} was labelled anomalous; take the label back, or leave it out.")
    seen = torch.isin(digest, torch.cat([bank.trained_digest, bank.held_out_digest]))
    if seen.any():
        name = known.names[int(seen.nonzero()[0])]
        told = f"{int(seen.sum())} of {len(digest)} images, as {name}, are normals of the model"
        if int((~seen).sum()) < FEWEST_NORMALS:
            raise ValueError(f"{told}; give at least {FEWEST_NORMALS} new ones.")
        warnings.warn(f"{told} and are left out.", stacklevel=3)
    return -seen.numpy().astype(np.int64)


def tell_copies(known: Identities, normals: npt.NDArray[np.int64]) -> None:
    """Tell of normals that are copies of others, to the pixel or nearly.

    Args:
        known: By what the images are known.
        normals: Indices of the normals among them.

    Raises:
        ValueError: There are too few different ones.

    Warns:
        UserWarning: Some have the same pixels, or more than 1% are near copies.
    """
    count = len(normals)
    copies, example = _again(known, normals, known.digest, "is one of")
    if count - copies < FEWEST_NORMALS:
        raise ValueError(
            f"only {count - copies} of {count} normals are different ({example}); give at least "
            f"{FEWEST_NORMALS} that are."
        )
    together = (
        "an image and its copies are trained on or held out together, and count as one in the rate "
        "of false alarms"
    )
    if copies:
        text = f"{copies} of {count} normals are copies of others ({example}): {together}."
        warnings.warn(text, stacklevel=4)
    # Near copies of a copy are told once.
    _, first = np.unique(known.digest.numpy()[normals], return_index=True)
    near, example = _again(known, normals[np.sort(first)], known.shown, "shows the same as")
    if near > _FEW * count:
        text = (
            f"{near} of {count} normals are near copies of others, re-saved, shifted by a pixel, "
            f"brighter or taken twice ({example}): {together}; keep one of each, or give groups if "
            "more images belong together."
        )
        warnings.warn(text, stacklevel=4)


def _again(
    known: Identities, normals: npt.NDArray[np.int64], number: Tensor, word: str
) -> tuple[int, str]:
    """How many normals have the number of an earlier one, and a sentence about the first."""
    _, first, which = np.unique(number.numpy()[normals], return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(normals)))
    if not len(again):
        return 0, ""
    one, other = normals[again[0]], normals[first[which[again[0]]]]
    return len(again), f"{known.names[one]} {word} {known.names[other]}"
