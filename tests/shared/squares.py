"""Squares of a photograph as normals, some with a scratch, and a detector that fits in a second."""

import numpy as np
import numpy.typing as npt

from anomem import AnoMem
from anomem.config import Config, EncoderChoices, ImageChoices, MemoryChoices, ScoreChoices

Images = npt.NDArray[np.uint8]

CONFIG = Config(
    images=ImageChoices(size=32),
    encoder=EncoderChoices(name="resnet10t", width=16, stem_stride=2, frozen=True),
    memory=MemoryChoices(prototypes="places", sizes=(256, 64)),
    score=ScoreChoices(whole=1.0),
)


def crops(photograph: Images, first: int, count: int) -> Images:
    """Some of the 256 squares that a photograph is cut into, in a shuffled order."""
    corners = 32 * np.indices((16, 16)).reshape(2, -1).T
    shuffled = np.random.default_rng(0).permutation(corners)[first : first + count]
    return np.stack([photograph[r : r + 32, c : c + 32] for r, c in shuffled])


def scratched(images: Images, seed: int) -> Images:
    """The same with a bright scratch each."""
    drawn, odd = np.random.default_rng(seed), images.copy()
    for image in odd:
        row, column = drawn.integers(2, 22, 2)
        image[row : row + 3, column : column + 9] = 250
    return odd


def place_counts(model: AnoMem) -> list[int]:
    """How many places each memory of a model recalls."""
    return [len(memory.prototypes) for memory in model.network_.place_memories()]
