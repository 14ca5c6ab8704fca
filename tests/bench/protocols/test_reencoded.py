import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from anomem.images.arrays import ArraySource
from anomem.images.combined import choose
from anomem.images.local import FileSource
from anomem.images.resize import ImageShape
from anomem.images.source import BytesSource
from anomem_bench.protocols.reencoded import ReencodedSource, jpeg_of

CAT = data.chelsea()[:64, :64]


def jpeg(quality: int, sampling: str = "4:2:0") -> bytes:
    file = io.BytesIO()
    Image.fromarray(CAT).save(file, "JPEG", quality=quality, subsampling=sampling)
    return file.getvalue()


@pytest.mark.parametrize(("quality", "sampling"), [(30, "4:2:0"), (92, "4:4:4")])
def test_images_get_the_tables_of_another_file(quality: int, sampling: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(quality, sampling))
    found = jpeg_of(FileSource([tmp_path / "a.jpg"]))
    assert found is not None
    again = ReencodedSource(ArraySource(CAT[None]), found, ImageShape(3, 64, 64))
    assert jpeg_of(again) == found
    # What encoding once more with the same tables gives is what Pillow gave.
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(again[0], np.asarray(image))


def test_images_are_brought_to_the_size_first() -> None:
    found = jpeg_of(BytesSource([jpeg(50)], ["a"]))
    assert found is not None
    assert ReencodedSource(ArraySource(CAT[None]), found, ImageShape(3, 32, 32))[0].shape == (
        32, 32, 3,
    )  # fmt: skip
    grey = ReencodedSource(ArraySource(CAT[None, ..., 0]), found, ImageShape(1, 64, 64))
    assert grey[0].shape == (64, 64, 1)


def test_other_formats_and_arrays_have_no_tables(tmp_path: Path) -> None:
    Image.fromarray(CAT).save(tmp_path / "a.png")
    files = FileSource([tmp_path / "a.png"])
    assert jpeg_of(files) is jpeg_of(ArraySource(CAT[None])) is None
    assert jpeg_of(choose(files, np.array([0]))) is None
