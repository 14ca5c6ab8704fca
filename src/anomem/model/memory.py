"""The Hopfield memory of one scale: prototypes of the normal, and their retrieval."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class HopfieldMemory(nn.Module):
    """Holds learnable prototypes of a fixed number, recalled by a modern Hopfield retrieval.

    Recollection of a query xi, repeated ``steps`` times:
    ``xi <- softmax(beta xi X^T) X`` (section 3.1 of the paper). With ``unit_norm`` the query, the
    prototypes and the result lie on the unit sphere, so that ``beta`` means the same at any scale
    of the features.

    Args:
        size: Number of prototypes N, at least 1.
        channels: Length C of a prototype.
        beta: Inverse temperature, above 0; high values recall the nearest prototype alone.
        steps: Repetitions of the retrieval, 1 (default) or more.
        unit_norm: Retrieve on the unit sphere (default); False is the raw dot product of the paper.

    Example:
        >>> memory = HopfieldMemory(16, 8, beta=50.0)
        >>> near = memory.prototypes[:4] + 0.01  # of four prototypes
        >>> memory(near).shape
        torch.Size([4, 8])
        >>> memory.weights(near).argmax(dim=-1)
        tensor([0, 1, 2, 3])
        >>> bool(memory.deviation(near).norm(dim=-1).max() < 0.2)
        True
    """

    def __init__(
        self, size: int, channels: int, *, beta: float, steps: int = 1, unit_norm: bool = True
    ) -> None:
        super().__init__()
        self.beta, self.steps, self.unit_norm = beta, steps, unit_norm
        self.prototypes = nn.Parameter(functional.normalize(torch.randn(size, channels), dim=-1))

    def forward(self, query: Tensor) -> Tensor:
        """Recollect each query.

        Args:
            query: (..., C).

        Returns:
            (..., C) in float32; of unit length with ``unit_norm``.
        """
        with torch.autocast(query.device.type, enabled=False):
            prototypes = self.comparable(self.prototypes.float())
            state = self._state(query, prototypes, self.steps)
            return state.view(query.shape)

    def weights(self, query: Tensor) -> Tensor:
        """Weigh each prototype as the last retrieval does, ``softmax(beta xi X^T)``.

        Args:
            query: (..., C).

        Returns:
            (..., N) in float32, each summing to 1.
        """
        prototypes = self.comparable(self.prototypes.float())
        state = self._state(query, prototypes, self.steps - 1).view(query.shape)
        return (self.beta * state @ prototypes.T).softmax(dim=-1)

    def recalled(self, query: Tensor) -> Tensor:
        """Find the prototype that weighs most for each query (..., C), (...) int64."""
        return self.weights(query).argmax(dim=-1)

    def _state(self, query: Tensor, prototypes: Tensor, steps: int) -> Tensor:
        """The state (M, C) of each query (..., C) after so many retrievals."""
        state = self.comparable(query.float()).reshape(-1, query.shape[-1])
        for _ in range(steps):
            state = self.comparable(_recalled(state, prototypes, self.beta))
        return state

    def comparable(self, features: Tensor) -> Tensor:
        """Put features where the memory compares them: the unit sphere, or as they are."""
        return functional.normalize(features, dim=-1) if self.unit_norm else features

    def deviation(self, query: Tensor) -> Tensor:
        """Measure how each query deviates from what is recalled in its place (Eq. 5), (..., C)."""
        return self.comparable(query.float()) - self(query)


def _recalled(state: Tensor, prototypes: Tensor, beta: float) -> Tensor:
    """``softmax(beta state X^T) X`` of states (M, C) and prototypes (N, C), (M, C)."""
    if torch.is_grad_enabled():
        # The backward pass of the fused attention splits its work by heads and keys, of which
        # there are few here: it took a fifth of a step on a GPU.
        return (beta * state @ prototypes.T).softmax(dim=-1) @ prototypes
    keys = prototypes[None, None]
    return functional.scaled_dot_product_attention(state[None, None], keys, keys, scale=beta)[0, 0]


def gated_recollection(memory: nn.Module, query: Tensor, normals: int) -> Tensor:
    """Recall normals and pass anomalies through: ``Mem(z, t) = HF(z) if t = 0 else z`` (Eq. 1).

    Args:
        memory: Maps (..., C) to (..., C).
        query: (B, ..., C).
        normals: Of the B, the first so many are normal and all others anomalous.

    Returns:
        (B, ..., C) in float32.
    """
    return torch.cat([memory(query[:normals]), query[normals:].float()])
