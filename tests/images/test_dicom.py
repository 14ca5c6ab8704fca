import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.data import get_testdata_file

from anomem.images.decode import decode, decode_bytes
from anomem.images.errors import ImageError
from anomem.images.listing import list_images


def real(name: str) -> Path:
    """A file that comes with pydicom."""
    return Path(str(get_testdata_file(name, download=False)))


def altered(name: str, change: Callable[[Any], None]) -> npt.NDArray[Any]:
    """A real file, changed, written and read as ours."""
    dataset, file = pydicom.dcmread(real(name)), BytesIO()
    change(dataset)
    dataset.save_as(file)
    return decode_bytes(file.getvalue(), name)


def test_values_are_shown_by_the_window_of_the_file() -> None:
    """The linear window of the standard (PS3.3 C.11.2.1.2.1), a pixel at a time."""
    file = real("MR_small.dcm")
    dataset = pydicom.dcmread(file)
    centre, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    image = decode(file)
    assert image.shape == (64, 64, 1) and image.dtype == np.uint16
    for (row, column), value in np.ndenumerate(dataset.pixel_array):
        share = (float(value) - (centre - 0.5)) / (width - 1) + 0.5
        assert abs(int(image[row, column, 0]) - min(max(share, 0), 1) * 65535) <= 1


def test_a_ct_without_a_window_is_in_hounsfield_units() -> None:
    dataset = pydicom.dcmread(real("CT_small.dcm"))
    units = dataset.pixel_array.astype(float) + float(dataset.RescaleIntercept)
    expected = np.clip((units + 1024) / 4095, 0, 1) * 65535
    np.testing.assert_allclose(decode(real("CT_small.dcm"))[..., 0], expected, atol=1)


def test_white_is_high_also_where_the_file_has_it_low() -> None:
    def turned(dataset: Any) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    for name in ("MR_small.dcm", "image_dfl.dcm"):
        image = decode(real(name))
        np.testing.assert_array_equal(altered(name, turned), np.iinfo(image.dtype).max - image)


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("image_dfl.dcm", (512, 512, 1), np.uint8),  # deflated, 8 bits
        ("examples_rgb_color.dcm", (240, 320, 3), np.uint8),
        ("examples_jpeg2k.dcm", (480, 640, 3), np.uint8),
        ("examples_palette.dcm", (350, 800, 3), np.uint16),
        ("SC_rgb_rle_16bit.dcm", (100, 100, 3), np.uint16),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100, 3), np.uint8),
        ("693_J2KI.dcm", (512, 512, 1), np.uint16),
        ("liver_1frame.dcm", (512, 512, 1), np.uint16),  # a segmentation of one bit
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_kinds_of_files(name: str, shape: tuple[int, ...], dtype: type) -> None:
    image = decode(real(name))
    assert image.shape == shape and image.dtype == dtype
    assert image.min() == 0 and image.max() >= np.iinfo(dtype).max - 255


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SC_rgb_rle_2frame.dcm", "several frames, and a score would see one; save each"),
        ("rtdose_1frame.dcm", "the pixels have 32 bits; convert"),
        ("rtplan.dcm", r"the file \(RTPLAN\) holds no picture; leave it out"),
        ("MR_truncated.dcm", "damaged or cut short"),
        ("JPEG-lossy.dcm", r"no decoder .*\(JPEG Extended .*; pip install 'pylibjpeg\[all\]'"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_what_is_no_image_is_told(name: str, told: str) -> None:
    with pytest.raises(ImageError, match=told) as caught:
        decode(real(name))
    assert str(caught.value).count("\n") == 0


def test_what_a_deflated_file_may_become_is_counted() -> None:
    bomb = b"\0" * 128 + b"DICM" + b"1.2.840.10008.1.2.1.99" + bytes(2_000_000)
    with pytest.raises(ImageError, match=r"takes 2\.1 GB of memory and the limit is"):
        decode_bytes(bomb, "bomb.dcm")


def test_a_folder_of_them_is_one_of_images(tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(real("CT_small.dcm").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list_images(tmp_path) == [tmp_path / "1.dcm"]


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"not installed; pip install 'anomem\[dicom\]'"):
        decode(real("CT_small.dcm"))
