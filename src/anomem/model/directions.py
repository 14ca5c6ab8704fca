"""Random directions in which features of many channels are compared."""

from __future__ import annotations

import torch
from torch import Tensor


def at_right_angles(channels: int, most: int, seed: int) -> Tensor:
    """Draw random directions at right angles, the same in every model.

    Distances in them are nearly those in all channels (Kim et al., Semi-orthogonal embedding,
    2021).

    Args:
        channels: C.
        most: D, where C is more; all channels as they are where it is not.
        seed: Of the draw.

    Returns:
        (C, D) float64, each direction of length 1.
    """
    if channels <= most:
        return torch.eye(channels, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(channels, most, generator=generator, dtype=torch.float64)
    directions: Tensor = torch.linalg.qr(drawn).Q
    return directions
