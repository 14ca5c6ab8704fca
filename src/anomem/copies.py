"""Images that stand more than once among those of a fit."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch

from anomem.holding_out import FEWEST_NORMALS
from anomem.reserve import Reserve
from anomem.training.images import Identities


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


def leave_out_known(known: Identities, reserve: Reserve) -> npt.NDArray[np.int64]:
    """Label images given as a new kind of normal; those that the model has seen take no part.

    Args:
        known: By what the images are known.
        reserve: Of the model.

    Returns:
        (N,) 0 for new images, -1 for those that it was trained on or that it held out.

    Raises:
        ValueError: One was labelled anomalous, or too few are new.

    Warns:
        UserWarning: Some are not new.
    """
    digest, labelled = known.digest, reserve.labelled
    anomalous = torch.isin(digest, labelled.digest[labelled.label == 1])
    if anomalous.any():
        name = known.names[int(anomalous.nonzero()[0])]
        raise ValueError(f"{name} was labelled anomalous; take the label back, or leave it out.")
    seen = torch.isin(digest, torch.cat([reserve.trained_digest, reserve.held_out_digest]))
    if seen.any():
        name = known.names[int(seen.nonzero()[0])]
        told = f"{int(seen.sum())} of {len(digest)} images, as {name}, are normals of the model"
        if int((~seen).sum()) < FEWEST_NORMALS:
            raise ValueError(f"{told}; give at least {FEWEST_NORMALS} new ones.")
        warnings.warn(f"{told} and are left out.", stacklevel=3)
    return -seen.numpy().astype(np.int64)


def tell_copies(known: Identities, normals: npt.NDArray[np.int64]) -> None:
    """Tell of normals that have the same pixels.

    Args:
        known: By what the images are known.
        normals: Indices of the normals among them.

    Raises:
        ValueError: There are too few different ones.

    Warns:
        UserWarning: Some have the same pixels.
    """
    digest = known.digest.numpy()[normals]
    different, first, which = np.unique(digest, return_index=True, return_inverse=True)
    copies = len(normals) - len(different)
    if not copies:
        return
    again = int(np.flatnonzero(first[which] != np.arange(len(normals)))[0])
    example = f"{known.names[normals[again]]} is one of {known.names[normals[first[which[again]]]]}"
    if len(different) < FEWEST_NORMALS:
        raise ValueError(
            f"only {len(different)} of {len(normals)} normals are different ({example}); give at "
            f"least {FEWEST_NORMALS} that are."
        )
    warnings.warn(
        f"{copies} of {len(normals)} normals are copies of others ({example}): an image and its "
        "copies are trained on or held out together, and count as one in the rate of false alarms.",
        stacklevel=4,
    )
