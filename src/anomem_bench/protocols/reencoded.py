"""Images encoded anew, as those of another set are."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from anomem.images.resize import ImageShape, to_shape
from anomem.images.source import EncodedSource, ImageSource

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Jpeg:
    """Says how a JPEG file is encoded.

    Attributes:
        tables: Its quantisation tables.
        sampling: Its chroma subsampling, as Pillow numbers it.
    """

    tables: dict[int, list[int]]
    sampling: int


def jpeg_of(source: ImageSource) -> Jpeg | None:
    """Tell how the first image of a source is encoded; None where it is no JPEG file."""
    content = source.encoded(0)
    if content is None or not content.startswith(_JPEG):
        return None
    with JpegImageFile(io.BytesIO(content)) as image:
        tables = {key: list(table) for key, table in image.quantization.items()}
        return Jpeg(tables, get_sampling(image))


class ReencodedSource(EncodedSource):
    """Brings images to one size, encodes them as JPEG and reads them again."""

    def __init__(self, source: ImageSource, jpeg: Jpeg, shape: ImageShape) -> None:
        self._source, self._jpeg, self._shape = source, jpeg, shape
        self.names = source.names

    def encoded(self, index: int) -> bytes:
        """Encode one image as a JPEG file."""
        pixels = np.moveaxis(to_shape(self._source[index], self._shape), 0, 2)
        if pixels.dtype == np.uint16:
            pixels = (pixels // 257).astype(np.uint8)
        file = io.BytesIO()
        sampling = self._jpeg.sampling if self._shape.channels == 3 else -1
        Image.fromarray(pixels.squeeze()).save(
            file, "JPEG", qtables=self._jpeg.tables, subsampling=sampling
        )
        return file.getvalue()
