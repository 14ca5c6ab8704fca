"""JSON as a tensor, so that one file of a model folder holds all but its description."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor


def as_tensor(value: Any) -> Tensor:
    """Write a value as JSON in the bytes of int64 numbers, eight each.

    >>> of_tensor(as_tensor(["good/1.png", "good/2.png"]))
    ['good/1.png', 'good/2.png']
    """
    text = json.dumps(value).encode()
    return torch.frombuffer(bytearray(text + b" " * (-len(text) % 8)), dtype=torch.int64)


def of_tensor(numbers: Tensor) -> Any:
    """Read what :func:`as_tensor` wrote.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(numbers.numpy().tobytes())
