"""DICOM files: their values as a window shows them, in 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from anomem.images.decode_memory import BUDGET, size_problem
from anomem.images.errors import AGAIN, ImageError
from anomem.images.layers import Layers
from anomem.images.tiff import APART

if TYPE_CHECKING:
    from pydicom import Dataset

_PREAMBLE, _MARK = 128, b"DICM"
_DEFLATED, _INFLATES = b"1.2.840.10008.1.2.1.99", 1032
"""The transfer syntax whose whole file is deflated, and how many times larger it may become."""
_CT = (-1024.0, 3071.0)
"""Hounsfield units from which to which values of twelve bits go."""


def is_dicom(file: BinaryIO) -> bool:
    """Tell whether a file says that it is DICOM."""
    file.seek(_PREAMBLE)
    return file.read(len(_MARK)) == _MARK


def read_dicom(file: BinaryIO, name: str) -> Layers:
    """Read the picture of a DICOM file.

    Values of one channel are rescaled, shown by the first window (or VOI table) that the file has,
    and brought to 16 bits, white being high. Without a window they reach from the least to the
    highest number that the bits can hold, and in a CT from -1,024 to 3,071 Hounsfield units: never
    from the least to the highest of an image, so that values compare from image to image. Values
    of 8 bits that nothing changes stay as they are; colours become RGB.

    Raises:
        ImageError: pydicom or a decoder is missing, or the file is damaged, of several frames, or
            no picture.
    """
    try:
        from pydicom import dcmread
    except ModuleNotFoundError as error:
        raise ImageError(name, "DICOM is read by pydicom, which is not installed",
                         "pip install 'anomem[dicom]'") from error  # fmt: skip
    file.seek(0)
    deflated = _DEFLATED in file.read(1024)
    length = file.seek(0, 2)
    BUDGET.take(length * (_INFLATES if deflated else 1), name)
    file.seek(0)
    dataset = dcmread(file)
    _check(dataset, name)
    pixels = _stored(dataset, name)
    if pixels.ndim == 3:
        return Layers(_widened(pixels, dataset)[..., :3])
    return Layers(_shown(pixels, dataset)[..., None])


def _check(dataset: Dataset, name: str) -> None:
    if "PixelData" not in dataset:
        kind = dataset.get("Modality") or dataset.file_meta.get("MediaStorageSOPClassUID", "DICOM")
        raise ImageError(name, f"the file ({kind}) holds no picture", "leave it out")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ImageError(name, "the file has several frames, and a score would see one", APART)
    if dataset.BitsAllocated > 16:
        raise ImageError(name, f"the pixels have {dataset.BitsAllocated} bits",
                         "convert it to 8 or 16 bits")  # fmt: skip
    height, width, samples = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
    if not height or not width:
        raise ImageError(name, f"the image has no pixels (size {width} x {height})", AGAIN)
    if problem := size_problem(width, height):
        raise ImageError(name, problem, "crop it or cut it")
    BUDGET.take(height * width * samples * 2 + height * width * 3 * 8, name)


def _stored(dataset: Dataset, name: str) -> npt.NDArray[Any]:
    """The values as they are stored, H x W, or colours as RGB, H x W x 3 or more."""
    from pydicom.pixels.processing import apply_color_lut

    try:
        pixels = dataset.pixel_array
    except RuntimeError as error:  # of pydicom, where each decoder lacks something
        kind = dataset.file_meta.TransferSyntaxUID.name
        raise ImageError(name, f"no decoder that is installed reads its pixels ({kind})",
                         "pip install 'pylibjpeg[all]'") from error  # fmt: skip
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(pixels, dataset)
    return pixels


def _widened(pixels: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[Any]:
    """Colours in 8 bits, or in all of 16."""
    if pixels.dtype == np.uint8 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        return pixels
    return _scaled(pixels, 0, 2**dataset.BitsStored - 1)


def _shown(pixels: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[Any]:
    """Values of one channel, as a screen shows them."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    windowed = "WindowCenter" in dataset or "VOILUTSequence" in dataset
    dark = dataset.PhotometricInterpretation == "MONOCHROME1"
    low, high = _range(dataset)
    values = apply_modality_lut(pixels, dataset)
    if windowed:
        values = apply_voi_lut(values, dataset)
    elif pixels.dtype == np.uint8 and (low, high) == (0, 255):
        return 255 - pixels if dark else pixels
    elif dataset.get("Modality") == "CT":
        low, high = _CT
    shown = _scaled(values, low, high)
    return 65535 - shown if dark else shown


def _range(dataset: Dataset) -> tuple[float, float]:
    """The least and the highest number that values can have, before a window and after it."""
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if dataset.get(table):
            return 0, 2 ** dataset[table].value[0].LUTDescriptor[2] - 1
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope = float(dataset.get("RescaleSlope") or 1)
    low, high = sorted(slope * end + float(dataset.get("RescaleIntercept") or 0) for end in ends)
    return low, high


def _scaled(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint16]:
    """Values from low to high as 0 to 65,535; what lies outside is cut."""
    share = (np.asarray(values, np.float64) - low) / (high - low)
    return (np.clip(share, 0, 1) * 65535).round().astype(np.uint16)
