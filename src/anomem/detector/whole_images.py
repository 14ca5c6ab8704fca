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
    usual, held_out = _usual(bank), bank.held_out.pooled[:, -width:]
    kinds = [held_out[usual & alike] for alike in _kinds(bank)]
    if len(bank.normals) >= _FEWEST:
        kinds.append(bank.normals.pooled[:, -width:])
    labelled = bank.labelled.features.at(bank.labelled.label == 0).pooled[:, -width:]
    return WholeImages.of(kinds, labelled) if kinds else None


def with_wholes(bank: FeatureBank, whole: WholeImages | None) -> FeatureBank:
    """Rate held-out normals as new ones are rated: without their own group, and without labels."""
    if whole is None:
        return bank
    directions = bank.held_out.pooled[:, -whole.labelled.shape[1] :].double()
    rated, usual = whole.of_kinds(directions), _usual(bank)
    group, held_in_turn = (
        each[bank.held_out_image] for each in (bank.held_out_group, bank.held_out_in_turn)
    )
    for number, alike in enumerate(_kinds(bank)):
        turned = alike & held_in_turn
        rated[turned, number] = in_turn(directions[turned], group[turned], usual[turned])
    held_out = replace(bank.held_out, beside=rated.amin(dim=1).float())
    return replace(bank, held_out=held_out)


def _usual(bank: FeatureBank) -> Tensor:
    """Which held-out frames tell what is usual, (F,) bool."""
    usual = bank.held_out_in_turn & ~bank.held_out_odd & (bank.held_out_label() != 1)
    return usual[bank.held_out_image]


def _kinds(bank: FeatureBank) -> list[Tensor]:
    """Which held-out frames (F,) are of each kind that enough usual ones tell of, bool."""
    usual, kind = _usual(bank), bank.held_out_kind[bank.held_out_image]
    kinds = [kind == number for number in bank.held_out_kind.unique()]
    return [alike for alike in kinds if int((usual & alike).sum()) >= _FEWEST]
