"""SVHN: house numbers in cropped digits of 32 x 32 pixels (Netzer et al., 2011)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import SVHN  # type: ignore[import-untyped]
from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]

from anomem.images.arrays import ArraySource
from anomem_bench.datasets.parts import Part, Parts

_DIGITS = tuple("0123456789")


def svhn(path: Path) -> Parts:
    """Read the digits 0 to 9.

    Args:
        path: A folder with ``test_32x32.mat`` and, to train, ``train_32x32.mat``, checked
            against the official checksums.
    """
    url, name, _ = SVHN.split_list["test"]
    if not (path / name).is_file():
        raise ValueError(f"{path} holds no {name}; get it from {url}.")
    train = _part(path, "train") if (path / SVHN.split_list["train"][1]).is_file() else None
    return Parts(train, _part(path, "test"))


def _part(folder: Path, split: str) -> Part:
    url, name, md5 = SVHN.split_list[split]
    if not check_integrity(folder / name, md5):
        raise ValueError(
            f"{folder / name} is not the official file (its MD5 sum is another); get it from {url}."
        )
    read = SVHN(folder, split=split, download=False)
    images = np.ascontiguousarray(read.data.transpose(0, 2, 3, 1))
    return Part(ArraySource(images), read.labels.astype(np.int64), _DIGITS)
