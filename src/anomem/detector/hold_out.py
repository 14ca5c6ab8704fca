"""Which normals are held out from training, to calibrate on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FEWEST_NORMALS = 10
_AT_LEAST_HELD_OUT = 19
MOST_HELD_OUT = 1000
_TRIES = 50


def hold_out(
    count: int, share: float, seed: int, groups: Sequence[object] | npt.NDArray[Any] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split normals into those to train on and those held out for calibration.

    What supports a rate of false alarms is the number of groups held out, not that of their images,
    so of few groups half are held out, as of few images. A group that would bring the images held
    out above half of all is trained on.

    Args:
        count: Number of normals, at least 10.
        share: Share to hold out, of the groups; at least 19 are, at most half and 1,000, and at
            least 19 images where whole groups allow it.
        seed: Of the draw.
        groups: Part, lot, subject or video of each normal, which is never split; each is its own
            where none are given.

    Returns:
        Sorted indices of the training normals and of the held-out ones. Of groups that hold more
        than 1,000 images together, 1,000 are held out, spread over them; the rest is in neither.

    Raises:
        ValueError: There are too few normals, or only one group.
    """
    names = np.arange(count) if groups is None else np.asarray(groups)
    check_enough(count, names)
    kinds, group = np.unique(names, return_inverse=True)
    wanted = (_some_of(len(kinds), share), _some_of(count, share))
    rng, sizes = np.random.default_rng(seed), np.bincount(group)
    drawn, enough = np.array([], dtype=np.int64), (0, 0)
    for _ in range(_TRIES):
        candidate = _draw_groups(sizes, wanted, count // 2, rng)
        found = min(len(candidate), wanted[0]), min(int(sizes[candidate].sum()), wanted[1])
        if found > enough:
            drawn, enough = candidate, found
        if enough == wanted:
            break
    held_out = np.isin(group, drawn)
    return np.flatnonzero(~held_out), _spread(np.flatnonzero(held_out), group, rng)


def hold_out_some(count: int, share: float, seed: int) -> npt.NDArray[np.int64]:
    """Draw sorted indices of normals to hold out, in memory that does not grow with their number.

    Args:
        count: Number of normals, at least 10.
        share: As of :func:`hold_out`.
        seed: Of the draw.

    Raises:
        ValueError: There are too few normals.
    """
    check_enough(count)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(count, _some_of(count, share), replace=False, shuffle=False))


def check_enough(count: int, groups: Sequence[object] | npt.NDArray[Any] | None = None) -> None:
    """See that there are enough normals, and groups of them, to train and to calibrate on.

    Raises:
        ValueError: There are too few.
    """
    if count < FEWEST_NORMALS:
        raise ValueError(
            f"{count} normal image{'s are' if count != 1 else ' is'} too few to train and to "
            f"calibrate on; give at least {FEWEST_NORMALS}."
        )
    if groups is not None and len(set(groups)) < 2:
        raise ValueError(
            f"all {count} normals are of the group {str(groups[0])!r}; held-out normals need a "
            "group of their own: give images of a second one, or leave the groups out."
        )


def _some_of(count: int, share: float) -> int:
    """Count how many are held out of so many normals, or groups of them."""
    return min(max(round(share * count), _AT_LEAST_HELD_OUT), count // 2, MOST_HELD_OUT)


def _draw_groups(
    sizes: npt.NDArray[np.int64], wanted: tuple[int, int], most: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Groups in random order until as many groups and images are wanted, but no more images."""
    drawn: list[int] = []
    total = 0
    for kind in rng.permutation(len(sizes)):
        if len(drawn) >= wanted[0] and total >= wanted[1]:
            break
        if total + sizes[kind] <= most:
            drawn.append(kind)
            total += int(sizes[kind])
    return np.array(drawn, dtype=np.int64)


def _spread(
    held_out: npt.NDArray[np.int64], group: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """At most 1,000 of the held-out images: one of each group, then a second one, and so on."""
    if len(held_out) <= MOST_HELD_OUT:
        return held_out
    shuffled = rng.permutation(held_out)
    by_group = np.argsort(group[shuffled], kind="stable")
    sizes = np.unique(group[shuffled], return_counts=True)[1]
    turn = np.empty(len(shuffled), dtype=np.int64)
    turn[by_group] = np.concatenate([np.arange(size) for size in sizes])
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:MOST_HELD_OUT]])
