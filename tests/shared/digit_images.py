"""Handwritten digits of scikit-learn: as a set of images, and as a data set in folders."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor


@dataclass
class Digits:
    """One digit, 8 x 8, enlarged to 16 x 16."""

    digit: int
    count: int = 60

    def __post_init__(self) -> None:
        pixels, label = load_digits(return_X_y=True)
        chosen = pixels[label == self.digit][: self.count].reshape(-1, 1, 8, 8)
        enlarged = np.kron(chosen, np.ones((2, 2))) * 15.9
        self.images = torch.from_numpy(enlarged.astype(np.uint8))

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Tensor:
        return self.images[indices]


def digit_folders(root: Path, *, enlarged: int, train: int, test: int = 20) -> str:
    """Write a folder a class for digits 0, 1 and 2, so many of each, and name the data set."""
    pixels, digit = load_digits(return_X_y=True)
    small = pixels.reshape(-1, 8, 8) * (255 / 16)
    images = np.kron(small, np.ones((enlarged, enlarged))).astype(np.uint8)
    for number in range(3):
        parts = (("train", slice(0, train)), ("test", slice(train, train + test)))
        for part, some in parts:
            folder = root / "digits" / part / str(number)
            folder.mkdir(parents=True)
            for index, image in enumerate(images[digit == number][some]):
                Image.fromarray(image).save(folder / f"{index}.png")
    return f"folder:{root / 'digits'}"
