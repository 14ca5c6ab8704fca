"""One file to one array: every format and bit depth, and a clear word for every bad file."""

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy.typing as npt
from PIL import Image, ImageFile

from anomem.images import tiff
from anomem.images.complaints import LISTENING, heard
from anomem.images.decode_memory import BUDGET, file_cost, image_cost, size_problem, viewed
from anomem.images.dicom import is_dicom, read_dicom
from anomem.images.errors import AGAIN, ImageError
from anomem.images.layers import GREY_16, Layers, layers_of, orientation_of
from anomem.images.png import deep_png, is_deep, without_texts
from anomem.runtime.untrusted import one_line

# All of Pillow's rasters that cameras, scanners and exporters write. Others are left out on
# purpose: EPS, for one, starts an interpreter.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "DIB")
_ORDERS = (b"II", b"MM")
"""The orders of bytes by which every TIFF file begins, also one that is damaged."""
_TOO_LARGE = "crop it or cut it"

_CORE: Any = Image.core  # type: ignore[attr-defined]
_WARNING = Lock()
_ALLOCATING = Lock()

# Pillow loads its format plugins at the first use, which is not thread safe: do it here, once.
Image.init()


def decode(path: Path, least: int | None = None) -> npt.NDArray[Any]:
    """Read an image file, upright as its EXIF orientation says.

    Transparency is composited on white, unless it would hide everything; palettes, CMYK and the
    like become RGB. Safe to call from several threads, which wait for one another where they would
    take more than the memory allowed (see ``decode_memory``).

    Args:
        path: The file; its content, not its suffix, tells the format.
        least: Pixels of the shorter side that do; a JPEG file at least twice as large is decoded
            at a half, a quarter or an eighth of its size. None decodes all.

    Returns:
        H x W x 1 (grey) or H x W x 3 (RGB), uint8, or uint16 where the file has 16 bits.

    Raises:
        ImageError: The file is missing, unreadable, not an image, damaged, of several pages or
            frames, too large or of another pixel type.
    """
    return decode_layers(path, least).on(1)


def decode_layers(path: Path, least: int | None = None) -> Layers:
    """Read an image file as :func:`decode` does, before transparency is composited."""
    with open_file(Path(path)) as file:
        return _layers(file, str(path), least)


def decode_bytes(content: bytes, name: str, least: int | None = None) -> npt.NDArray[Any]:
    """Read what a file would hold, named so in errors, as :func:`decode` reads a file."""
    return _layers(io.BytesIO(content), name, least).on(1)


def pil_to_array(image: Image.Image, name: str) -> npt.NDArray[Any]:
    """Convert a Pillow image of any mode, as :func:`decode` reads a file.

    Raises:
        ImageError: It is a file of several frames, the pixels are 32-bit numbers, or cannot be
            read; the image is called by the name.
    """
    with _telling_damage(name), LISTENING:
        frames = 1
        with suppress(Exception):  # its file may be closed
            frames = int(getattr(image, "n_frames", 1))
        if frames > 1 and getattr(image, "format", None) != "MPO":
            reason = f"this is a file of {frames} frames, and a score would see one"
            mend = "give each as an image of its own, image.copy() after seek"
            raise ImageError(name, reason, mend)
        image.load()
        return _upright(image, name).on(1)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file that is not empty.

    Raises:
        ImageError: It cannot be opened.
    """
    name = str(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(name, "this is a folder, not an image", "give the files in it")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(name, "this is a device or a pipe", "give a regular file")
        if status.st_size == 0:
            raise ImageError(name, "the file is empty (0 bytes)", AGAIN)
        return path.open("rb")
    except ImageError:
        raise
    except FileNotFoundError as error:
        if path.is_symlink():
            reason = f"the link points to {os.readlink(path)}, which does not exist"
            raise ImageError(name, reason, "restore that file or remove the link") from error
        raise ImageError(name, "there is no such file", "check the path") from error
    except PermissionError as error:
        raise ImageError(name, "permission denied", "let this user read the file") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = f"the file cannot be opened ({one_line(error)})"
        raise ImageError(name, reason, "check the path") from error


@contextmanager
def _telling_damage(name: str) -> Iterator[None]:
    """Tell whatever is wrong with an image in one kind of error."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        reason = "there is not enough memory to decode it"
        raise ImageError(name, reason, _TOO_LARGE) from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, f"it is too large ({one_line(error)})", _TOO_LARGE) from error
    except Exception as error:
        why = "it ends too soon" if isinstance(error, struct.error) else one_line(error)
        reason = f"the image is damaged or cut short ({why})"
        raise ImageError(name, reason, AGAIN) from error


def _layers(file: BinaryIO, name: str, least: int | None) -> Layers:
    with BUDGET.held(), _telling_damage(name):
        head = file.read(26)
        with LISTENING if head.startswith(_ORDERS) else nullcontext():
            return _decode(file, head, name, least)


def _decode(file: BinaryIO, head: bytes, name: str, least: int | None) -> Layers:
    if is_dicom(file):
        return read_dicom(file, name)
    opened = tiff.open_tiff(file) if head[:4] in tiff.MAGIC else None
    if opened is not None:
        tiff.refuse_pages(opened, name)
        if (deep := tiff.deep_colour(opened, name)) is not None:
            return deep
    image = _open_image(file, head[:16], name)
    if problem := size_problem(image.width, image.height):
        raise ImageError(name, problem, _TOO_LARGE)
    _refuse_frames(image, file, name)
    if is_deep(head):
        return deep_png(file, head, name)
    page = None if opened is None else tiff.first_page(opened)
    BUDGET.take(image_cost(image, file, page), name)
    if least is not None:
        image.draft(None, (least, least))
    if image.mode == "RGBA" and any("RGBa" in (part.args or ()) for part in image.tile):
        image._mode = "RGBa"  # as the file has it, or Pillow divides by an alpha of zeros
    _load(image)
    layers = replace(_upright(image, name), lossy=_is_lossy(image, file))
    if opened is not None and image.mode in GREY_16 and tiff.white_is_0(tiff.first_page(opened)):
        layers = Layers(65535 - layers.colour)
    return layers


def _open_image(file: BinaryIO, head: bytes, name: str) -> ImageFile.ImageFile:
    # Not Image.open: its warning about large images can be silenced only through
    # warnings.catch_warnings, which is global and not thread safe.
    for kind in _FORMATS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        if factory is None or accept is None or accept(head) is not True:
            continue
        BUDGET.take(file_cost(file, kind), name)
        file = without_texts(file, name) if kind == "PNG" else file
        file.seek(0)
        return _quietly(factory, file) if kind == "TIFF" else factory(file, "")
    raise ImageError(name, f"not an image of a known format ({', '.join(_FORMATS)})",
                     "remove it or convert it to PNG")  # fmt: skip


def _quietly(factory: Any, file: BinaryIO) -> ImageFile.ImageFile:
    """Open a TIFF; what Pillow warns of its tags is counted."""
    # Warnings are caught for the whole process, so one thread at a time.
    with _WARNING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return factory(file, "")
        finally:
            heard("Pillow", len(caught))


def _refuse_frames(image: ImageFile.ImageFile, file: BinaryIO, name: str) -> None:
    """Refuse what has several frames. Those of a TIFF are its pages."""
    several = image.format not in ("MPO", "TIFF") and getattr(image, "is_animated", False)
    if image.format == "MPO":
        several = _has_pair(image)
    if image.format == "PPM" and image.tile[0].codec_name == "raw":
        bits = {"1": 1, "L": 8, "RGB": 24}.get(image.mode, 16)
        file.seek(image.tile[0].offset + (image.width * bits + 7) // 8 * image.height)
        several = file.read(2) in (b"P4", b"P5", b"P6")
    if several:
        reason = "the file has several frames, and a score would see one"
        raise ImageError(name, reason, tiff.APART)


def _has_pair(image: ImageFile.ImageFile) -> bool:
    """Whether a JPEG holds another photograph, as of a stereo camera, and no preview or map."""
    several, first = False, (image.size, image.mode)
    with suppress(Exception):  # what cannot be read of the others is no one's picture
        for frame in range(1, int(getattr(image, "n_frames", 1))):
            image.seek(frame)
            several = several or (image.size, image.mode) == first
    image.seek(0)
    return several


def _load(image: ImageFile.ImageFile) -> None:
    # Memory made here is what Pillow decodes into: in one piece, so that it can be looked at, and,
    # for a TIFF, without its warning of large images.
    limit = Image.MAX_IMAGE_PIXELS
    large = limit is not None and image.width * image.height > limit
    if viewed(image) or (image.format == "TIFF" and large):
        size = getattr(image, "_tile_size", image.size)
        with _ALLOCATING:
            _CORE.set_use_block_allocator(int(viewed(image)))
            image.im = _CORE.new(image.mode, size)
            _CORE.set_use_block_allocator(0)
    image.load()


def _is_lossy(image: ImageFile.ImageFile, file: BinaryIO) -> bool:
    if image.format != "WEBP":
        return image.format in ("JPEG", "MPO", "AVIF")
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", chunk)
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        file.seek(length + length % 2, io.SEEK_CUR)
    return True


def _upright(image: Image.Image, name: str) -> Layers:
    if 0 in image.size:
        raise ImageError(name, f"the image has no pixels (size {image.size})", AGAIN)
    return layers_of(image, name).turned(orientation_of(image))
