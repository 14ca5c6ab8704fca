import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """From an image to its file in memory, as PNG or in another format."""

    def encoded(image: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind)
        return file.getvalue()

    return encoded
