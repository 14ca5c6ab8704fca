"""Which normals are held out from training, to calibrate on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FEWEST_NORMALS = 10
_AT_LEAST_HELD_OUT = 19
MOST_HELD_OUT = 1000
_TRIES = 50


def hold_out(
    count: int, share: float, seed: int, groups: Sequence[str] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split normals into those to train on and those held out for calibration.

    Args:
        count: Number of normals, at least 10.
        share: Share to hold out; at least 19 images are, at most half and 1,000.
        seed: Of the draw.
        groups: Part, lot, subject or video of each normal; a group is never split, so that fewer
            are held out where the groups are large.

    Returns:
        Sorted indices of the training normals and of the held-out ones.

    Raises:
        ValueError: There are too few normals, or only one group.
    """
    wanted = _held_out(count, share)
    names = np.arange(count) if groups is None else np.asarray(groups)
    kinds, group = np.unique(names, return_inverse=True)
    if len(kinds) < 2:
        raise ValueError(
            f"all {count} normals are of the group {str(kinds[0])!r}; held-out normals need a "
            "group of their own: give images of a second one, or leave the groups out."
        )
    rng, sizes = np.random.default_rng(seed), np.bincount(group)
    drawn = np.array([], dtype=np.int64)
    for _ in range(_TRIES):
        candidate = _draw_groups(sizes, wanted, count // 2, rng)
        if sizes[candidate].sum() > sizes[drawn].sum():
            drawn = candidate
        if sizes[drawn].sum() >= wanted:
            break
    held_out = np.isin(group, drawn)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def hold_out_some(count: int, share: float, seed: int) -> npt.NDArray[np.int64]:
    """Sorted indices of normals to hold out, in memory that does not grow with their number.

    Args:
        count: Number of normals, at least 10.
        share: As of :func:`hold_out`.
        seed: Of the draw.

    Raises:
        ValueError: There are too few normals.
    """
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(count, _held_out(count, share), replace=False, shuffle=False))


def _held_out(count: int, share: float) -> int:
    """How many of so many normals are held out."""
    if count < FEWEST_NORMALS:
        raise ValueError(
            f"{count} normal image{'s are' if count != 1 else ' is'} too few to train and to "
            f"calibrate on; give at least {FEWEST_NORMALS}."
        )
    return min(max(round(share * count), _AT_LEAST_HELD_OUT), count // 2, MOST_HELD_OUT)


def _draw_groups(
    sizes: npt.NDArray[np.int64], wanted: int, most: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Groups in random order until so many images are wanted, leaving out those that exceed."""
    drawn: list[int] = []
    total = 0
    for kind in rng.permutation(len(sizes)):
        if total >= wanted:
            break
        if total + sizes[kind] <= most:
            drawn.append(kind)
            total += sizes[kind]
    return np.array(drawn, dtype=np.int64)
