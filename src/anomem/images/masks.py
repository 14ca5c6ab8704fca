"""Masks of images: where the anomaly is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.images.decode import decode_layers
from anomem.images.errors import times
from anomem.images.layers import Layers
from anomem.images.listing import IMAGE_SUFFIXES

_LUMA = (299, 587, 114)
_LABELS = 16
"""Highest value of a mask that is surely one of labels."""
_OWN = 0.3
"""Share of faint pixels that would be labels, above which all are."""


def mask_files(images: Sequence[Path], folder: Path, masks: Path) -> list[Path]:
    """Find the mask of each image in a folder of masks, by its path below its own folder.

    The mask of ``folder/crack/007.png`` is ``masks/crack/007_mask.png``, as in MVTec AD, or
    ``masks/crack/007.png``; of any image format, its suffix in small or capital letters.

    Raises:
        ValueError: ``folder`` is none, or an image has no mask.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; masks are found by paths below one.")
    return [_mask_file(image, folder, masks) for image in images]


def _mask_file(image: Path, folder: Path, masks: Path) -> Path:
    below = masks / image.relative_to(folder).parent
    by_stem: dict[str, list[Path]] = {}
    for file in sorted(below.iterdir()) if below.is_dir() else []:
        if file.suffix.lower() in IMAGE_SUFFIXES and file != image:
            by_stem.setdefault(file.stem, []).append(file)
    for stem in (f"{image.stem}_mask", image.stem):
        if stem in by_stem:
            return min(by_stem[stem], key=lambda file: IMAGE_SUFFIXES.index(file.suffix.lower()))
    raise ValueError(
        f"{image} has no mask; put one at {below / image.stem}_mask.png, or leave the image out."
    )


MaskLike = str | Path | npt.NDArray[Any]
"""A mask as a file, or as an array H x W, not 0 where something is marked."""


def mask_of(given: MaskLike, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Read the mask of an image of a height and width; a file as :func:`read_mask` does.

    Raises:
        ImageError: The file cannot be read.
        ValueError: The mask is not of the size of its image, or holds NaN.
    """
    if isinstance(given, np.ndarray):
        if given.dtype.kind == "f" and np.isnan(given).any():
            raise ValueError("a mask holds NaN; give 0 where nothing is marked.")
        mask, called = given != 0, "a mask"
    else:
        mask, called = read_mask(Path(given)), str(given)
    if mask.shape != size:
        raise ValueError(
            f"{called} is {times(mask.shape)} and its image {times(size)}; give a mask of the same "
            "size."
        )
    return mask


def read_mask(file: Path) -> npt.NDArray[np.bool_]:
    """Read a mask H x W, True where something is marked.

    Whatever is not the ground is marked: what is not black, not transparent, or, where a palette
    holds no black, not of its first colour. Where values run through, as at smoothed edges, in
    pictures of soft masks and in what JPEG makes of a mask, those above half of the highest are.

    Raises:
        ImageError: The file cannot be read.
    """
    layers = decode_layers(file)
    seen = layers.transparency
    if seen is None and (unlike := _unlike_ground(layers)) is not None:
        return unlike
    value, unit = _brightness(layers.on(0))
    if seen is not None and not value.any():  # drawn in black
        value = seen
    return _marked(value, unit, layers.lossy)


def _unlike_ground(layers: Layers) -> npt.NDArray[np.bool_] | None:
    """Where a palette's first colour is not, if it stands for the ground."""
    if layers.ground is None:
        return None
    unlike = np.any(layers.colour != np.asarray(layers.ground, dtype=np.uint8), axis=2)
    has_black = bool((~layers.colour.any(axis=2)).any())
    return None if has_black or unlike.all() or not unlike.any() else unlike


def _brightness(colour: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """The brightness H x W of each pixel, 0 for black alone, and that of a grey of 1."""
    if colour.shape[2] == 1:
        return colour[..., 0], 1
    return colour @ np.array(_LUMA, dtype=np.uint32), sum(_LUMA)


def _marked(value: npt.NDArray[Any], unit: int, lossy: bool) -> npt.NDArray[np.bool_]:
    low, high = int(value.min()), int(value.max())
    if low == high:
        return np.full(value.shape, high > 0)
    bright = value > low + (high - low) // 2
    faint = (value > low) & ~bright
    labels = not lossy and (high <= _LABELS * unit or _are_labels(value, faint, low, high))
    return bright | faint if labels else bright


def _are_labels(value: npt.NDArray[Any], faint: npt.NDArray[np.bool_], low: int, high: int) -> bool:
    """Whether faint pixels are labels of their own, and no slopes to brighter ones or noise."""
    from scipy.ndimage import maximum_filter, minimum_filter  # takes a quarter of a second to load

    top = faint & (maximum_filter(value, 3) == value)
    # What is next to nothing may be noise, unless it covers an area.
    flat = top & (minimum_filter(value, 3) == value)
    own = np.where(value > low + (high - low) // 8, top, flat)
    return int(own.sum()) >= _OWN * int(faint.sum())
