"""What is usual of whole images, and how far held-out normals are from it, as new ones are."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from anomem.detector.feature_bank import FeatureBank
from anomem.model.whole_image import WholeImages, in_turn

_FEWEST = 2
"""Of which a spread is known."""


def whole_images(bank: FeatureBank, width: int) -> WholeImages | None:
    """Learn what is usual of whole images from a bank that keeps directions of some width.

    Of each kind of normal by those held out in turn, as long as they are not unlike all others or
    labelled anomalous; and by those trained on.

    Returns:
        None where there are none, or the width is 0.
    """
    if width == 0:
        return None
    usual = _usual(bank)
    kinds = [
        bank.held_out.at(usual & (_kind(bank) == kind)) for kind in bank.held_out_kind.unique()
    ]
    directions = [each.pooled[:, -width:] for each in (*kinds, bank.normals)]
    enough = [each for each in directions if len(each) >= _FEWEST]
    labelled = bank.labelled.features.at(bank.labelled.label == 0).pooled[:, -width:]
    return WholeImages.of(enough, labelled) if enough else None


def with_wholes(bank: FeatureBank, whole: WholeImages | None) -> FeatureBank:
    """Rate held-out normals as new ones are rated: without their own group, and without labels."""
    if whole is None:
        return bank
    directions = bank.held_out.pooled[:, -whole.labelled.shape[1] :].double()
    rated, usual, kind = whole.of_kinds(directions), _usual(bank), _kind(bank)
    group, number = bank.held_out_group[bank.held_out_image], 0
    for each in bank.held_out_kind.unique():
        if int((usual & (kind == each)).sum()) < _FEWEST:
            continue
        turned = (kind == each) & bank.held_out_in_turn[bank.held_out_image]
        rated[turned, number] = in_turn(directions[turned], group[turned], usual[turned])
        number += 1
    held_out = replace(bank.held_out, beside=rated.amin(dim=1).float())
    return replace(bank, held_out=held_out)


def _usual(bank: FeatureBank) -> Tensor:
    """Which held-out frames tell what is usual, (F,) bool."""
    usual = bank.held_out_in_turn & ~bank.held_out_odd & (bank.held_out_label() != 1)
    return usual[bank.held_out_image]


def _kind(bank: FeatureBank) -> Tensor:
    return bank.held_out_kind[bank.held_out_image]
