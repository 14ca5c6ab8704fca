"""Masks of images: where the anomaly is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomem.data.decode import decode
from anomem.data.listing import IMAGE_SUFFIXES


def mask_files(images: Sequence[Path], folder: Path, masks: Path) -> list[Path]:
    """The mask of each image, found by its path below a folder.

    The mask of ``folder/crack/007.png`` is ``masks/crack/007_mask.png``, as in MVTec AD, or
    ``masks/crack/007.png``; of any image format.

    Args:
        images: Files below ``folder``.
        folder: What their paths are taken from.
        masks: Folder of the masks.

    Raises:
        ValueError: An image has no mask.
    """
    return [_mask_file(image, folder, masks) for image in images]


def _mask_file(image: Path, folder: Path, masks: Path) -> Path:
    below = masks / image.relative_to(folder).parent
    for name in (f"{image.stem}_mask", image.stem):
        for suffix in IMAGE_SUFFIXES:
            if (file := below / f"{name}{suffix}").is_file():
                return file
    raise ValueError(
        f"{image} has no mask; put one at {below / image.stem}_mask.png, or leave the image out."
    )


def read_mask(file: Path) -> npt.NDArray[np.bool_]:
    """A mask H x W: True where any channel is above half of its range.

    Raises:
        ImageError: The file cannot be read.
    """
    pixels = decode(file)
    return np.any(pixels > np.iinfo(pixels.dtype).max // 2, axis=2)
