"""Handwritten digits of scikit-learn: three kinds known, three as outliers, and strange ones."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits

from anomem import Config
from anomem.images.image_set import to_float
from anomem.images.prepare import PreparedImages
from anomem_bench.peers.classifier import Classifier

Images = npt.NDArray[np.uint8]
KNOWN, OUTSIDE, STRANGE = (0, 1, 2), (3, 4, 5), (6, 7, 8, 9)


def some_digits(kinds: tuple[int, ...], rows: slice) -> tuple[Images, npt.NDArray[np.int64]]:
    """Some of each of some handwritten digits, 16 x 16, and which ones they are."""
    pixels, digit = load_digits(return_X_y=True)
    small = np.concatenate([pixels[digit == k][rows] for k in kinds]).reshape(-1, 8, 8)
    images = np.kron(small * (255 / 16), np.ones((2, 2))).astype(np.uint8)
    return images, np.repeat(kinds, len(images) // len(kinds)).astype(np.int64)


def fitted(peer: type[Classifier], config: Config, rows: slice = slice(0, 20)) -> Classifier:
    """Trained on three kinds of digits, with three others as outliers."""
    images, kinds = some_digits(KNOWN, rows)
    outliers, _ = some_digits(OUTSIDE, rows)
    return peer(config, device="cpu").fit(images, classes=kinds, outliers=outliers)


def as_floats(images: Images) -> torch.Tensor:
    return to_float(torch.from_numpy(images)[:, None])


def as_set(images: Images) -> PreparedImages:
    return PreparedImages(torch.from_numpy(images)[:, None])
