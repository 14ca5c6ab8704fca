"""The farthest place next: k-centre coresets, sparing distances that cannot matter."""

from __future__ import annotations

import torch
from torch import Tensor


def farthest_first(places: Tensor, first: int, count: int) -> Tensor:
    """Indices (count,) of places, each the farthest from all before it (Gonzalez, 1985).

    A place is only compared with a new centre that is less than twice as far from the place's
    nearest centre as the place itself; to any other it is no nearer, by the triangle inequality.

    Args:
        places: (N, C) floats.
        first: Index of the first centre.
        count: At most N.
    """
    chosen = torch.empty(count, dtype=torch.int64)
    centres = places.new_empty(count, places.shape[1])
    distance = torch.linalg.norm(places - places[first], dim=1)
    nearest = torch.zeros(len(places), dtype=torch.int64)
    chosen[0], centres[0] = first, places[first]
    for number in range(1, count):
        index = int(distance.argmax())
        chosen[number], centres[number] = index, places[index]
        between = torch.linalg.norm(centres[:number] - centres[number], dim=1)
        may = (between[nearest] < 2 * distance).nonzero().flatten()
        found = torch.linalg.norm(places[may] - centres[number], dim=1)
        nearer = may[found < distance[may]]
        distance[nearer] = found[found < distance[may]]
        nearest[nearer] = number
        distance[index] = 0.0  # also where rounding leaves more
    return chosen
