"""ELPV: solar cells under electroluminescence (Buerhop-Lutz et al., 2018)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anomem.images.arrays import ArraySource
from anomem_bench.datasets.parts import Part, Parts

_CLASSES = ("functional", "possibly defective", "likely defective", "defective")
_PROBABILITIES = (0.0, 1 / 3, 2 / 3, 1.0)
_TEST_EVERY = 4
"""There is no official split: of each class, every fourth image in the order of the set tests."""


def elpv(path: Path | None = None) -> Parts:
    """Read 2,624 cells of 300 x 300 pixels by their probability of a defect.

    Args:
        path: The file ``labels.csv`` beside its folder ``images``; None takes those of the
            package ``elpv-dataset``.
    """
    try:
        from elpv_dataset.utils import load_dataset
    except ImportError as error:
        raise ValueError("elpv comes in a package; pip install 'anomem[bench]'.") from error

    images, probability, _ = load_dataset(None if path is None else str(path))
    near = np.abs(np.subtract.outer(probability, _PROBABILITIES))
    label = near.argmin(axis=1).astype(np.int64)
    tests = np.zeros(len(label), dtype=bool)
    for index in range(len(_CLASSES)):
        tests[np.flatnonzero(label == index)[::_TEST_EVERY]] = True
    whole = Part(ArraySource(images), label, _CLASSES)
    return Parts(whole.choose(np.flatnonzero(~tests)), whole.choose(np.flatnonzero(tests)))
