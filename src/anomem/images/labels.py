"""The labels that go with images, and images that are of one kind alone."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from anomem.images.combined import JoinedSource
from anomem.images.listing import protocol_of
from anomem.images.source import ImageSource, StoredSource


def refuse_shared(
    one: ImageSource, other: ImageSource, kinds: tuple[str, str] = ("normals", "anomalies")
) -> None:
    """Refuse a stored image that is among two kinds which exclude one another.

    Raises:
        ValueError: One is.
    """
    if not (isinstance(one, StoredSource) and isinstance(other, StoredSource)):
        return
    stored = set(map(_location, other.names))
    if shared := next((name for name in one.names if _location(name) in stored), None):
        raise ValueError(
            f"{shared} is among the {kinds[0]} and among the {kinds[1]}; keep the folders apart."
        )


def _location(name: str) -> str:
    """Where an image is stored, under one name however it is reached."""
    return os.path.realpath(name) if protocol_of(name) is None else name


def with_anomalies(
    source: ImageSource, label: npt.NDArray[np.int64], anomalies: ImageSource
) -> tuple[ImageSource, npt.NDArray[np.int64]]:
    """Join images and their labels with further images that are all anomalous.

    Raises:
        ValueError: A file is among both.
    """
    refuse_shared(source, anomalies)
    more = np.ones(len(anomalies), dtype=np.int64)
    return JoinedSource([source, anomalies]), np.concatenate([label, more])


def check_labels(
    y: npt.ArrayLike | None, count: int, allowed: tuple[int, ...] = (0, 1)
) -> npt.NDArray[np.int64]:
    """Check the labels of so many images, and give them as integers (count,).

    Args:
        y: 0 normal, 1 anomalous; None means all are normal.
        count: Number of images.
        allowed: The labels that may occur.

    Raises:
        ValueError: Their number or a value is wrong.
    """
    if y is None:
        return np.zeros(count, dtype=np.int64)
    label = np.asarray(y)
    if label.shape != (count,):
        raise ValueError(f"y has shape {label.shape} for {count} images; give one label an image.")
    unknown = sorted({value for value in label.tolist() if value not in allowed}, key=str)
    if unknown:
        raise ValueError(
            f"y holds {unknown[0]!r}; labels are 0 for normal and 1 for anomalous"
            + (", -1 takes one back." if -1 in allowed else ".")
        )
    return label.astype(np.int64)
