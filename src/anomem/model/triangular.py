"""Lower triangular matrices, kept without what is 0."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def packed(lower: Tensor) -> Tensor:
    """Keep of lower triangular matrices (..., C, C) what is not 0, (..., C (C + 1) / 2)."""
    rows, columns = torch.tril_indices(lower.shape[-1], lower.shape[-1])
    return lower[..., rows, columns]


def unpacked(kept: Tensor, channels: int) -> Tensor:
    """Give the matrices (..., C, C) again."""
    places = np.zeros((channels, channels), dtype=np.int64)  # 0 is where nothing was kept
    rows, columns = np.tril_indices(channels)
    places[rows, columns] = np.arange(1, len(rows) + 1)
    nothing = kept.new_zeros(*kept.shape[:-1], 1)
    return torch.cat([nothing, kept], -1)[..., torch.from_numpy(places)]
