"""Crops of a photograph, of the shape of a frame, and that frame."""

import numpy as np
import numpy.typing as npt
from skimage import data

from anomem.images.framing import Framing
from anomem.images.resize import ImageShape

PHOTO: npt.NDArray[np.uint8] = data.astronaut()
CROPS = np.stack([PHOTO[row : row + 32, row : row + 40] for row in range(0, 300, 3)])
SHAPE = ImageShape(3, 32, 40)
WHOLE = Framing("resize", SHAPE)
