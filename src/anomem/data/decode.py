"""One file to one array: every format and bit depth, and a clear word for every bad file."""

import io
import struct
import warnings
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageFile, PngImagePlugin

from anomem.data.opening import AGAIN, ImageError, one_line, open_file

# All of Pillow's rasters that cameras, scanners and exporters write. Others are left out on
# purpose: EPS, for one, starts an interpreter.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "DIB")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
# How Pillow unpacks 16-bit PNG by colour type: the high bytes, then the low bytes of RGB and RGBA;
# the two bytes of grey and the two of alpha together, as if they were RGBA of 8 bits.
_PNG_RAW_MODES = {2: ("RGB;16B", "RGB;16L"), 4: ("RGBA",), 6: ("RGBA;16B", "RGBA;16L")}
_DEPTHS = "convert it to 8 or 16 bits (uint8 or uint16)"

_SILENCE = Lock()

# Pillow loads its format plugins at the first use, which is not thread safe: do it here, once.
Image.init()


def decode(path: Path, least: int | None = None) -> npt.NDArray[Any]:
    """Read the first frame of an image file, upright as its EXIF orientation says.

    Transparency is composited on white; palettes, CMYK and the like become RGB. Safe to call from
    several threads.

    Args:
        path: the file; its content, not its suffix, tells the format.
        least: pixels of the shorter side that do; a JPEG file at least twice as large is decoded
            at a half, a quarter or an eighth of its size. None decodes all.

    Returns:
        H x W x 1 (grey) or H x W x 3 (RGB), uint8, or uint16 where the file has 16 bits.

    Raises:
        ImageError: the file is missing, unreadable, not an image, damaged, too large (more than
            twice ``PIL.Image.MAX_IMAGE_PIXELS``) or of another pixel type.
    """
    with open_file(Path(path)) as file:
        return _told(file, str(path), least)


def decode_bytes(content: bytes, name: str, least: int | None = None) -> npt.NDArray[Any]:
    """Read an encoded image in memory, as :func:`decode` reads a file.

    Args:
        content: what a file would hold.
        name: what to call it in an error.
        least: as of :func:`decode`.

    Returns:
        As of :func:`decode`.

    Raises:
        ImageError: as of :func:`decode`.
    """
    return _told(io.BytesIO(content), name, least)


def pil_to_array(image: Image.Image, name: str) -> npt.NDArray[Any]:
    """Convert a Pillow image of any mode, upright as its EXIF orientation says.

    Args:
        image: the image; only its current frame is taken.
        name: what to call it in an error.

    Returns:
        H x W x 1 (grey) or H x W x 3 (RGB), uint8, or uint16 for the modes of 16 bits.

    Raises:
        ImageError: the pixels are 32-bit numbers, or cannot be read.
    """
    try:
        image.load()
        if 0 in image.size:
            raise ImageError(name, f"the image has no pixels (size {image.size})", AGAIN)
        return _turn(_pixels(image, name), _orientation(image))
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error


def _told(file: BinaryIO, name: str, least: int | None) -> npt.NDArray[Any]:
    """Decode, and tell what is wrong in one kind of error."""
    try:
        return _decode(file, name, least)
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error


def _decode(file: BinaryIO, name: str, least: int | None) -> npt.NDArray[Any]:
    head = file.read(26)
    if head[:4] in _TIFF_MAGIC:
        deep = _deep_tiff(file, name)
        if deep is not None:
            return deep
    image = _open_image(file, head[:16], name)
    _refuse_bomb(image.width, image.height, name)
    if least is not None:
        image.draft(None, (least, least))
    _load(image)
    # Byte 24 of a PNG is its bit depth, byte 25 its colour type; Pillow would cut 16-bit colour.
    if image.format == "PNG" and head[24] == 16 and head[25] in _PNG_RAW_MODES:
        pixels = _deep_png(file, _PNG_RAW_MODES[head[25]])
        return _turn(pixels, _orientation(image))
    return pil_to_array(image, name)


def _open_image(file: BinaryIO, head: bytes, name: str) -> ImageFile.ImageFile:
    # Not Image.open: its warning about large images can be silenced only through
    # warnings.catch_warnings, which is global and not thread safe.
    for kind in _FORMATS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        if factory is None or accept is None or accept(head) is not True:
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            raise _damaged(name, error) from error
    raise ImageError(name, f"not an image of a known format ({', '.join(_FORMATS)})",
                     "remove it or convert it to PNG")  # fmt: skip


def _load(image: ImageFile.ImageFile) -> None:
    # Pillow warns again of a large image when it loads a TIFF. Warnings are silenced for the whole
    # process, so one thread at a time, and only where it must be.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None or image.width * image.height <= limit:
        image.load()
        return
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image.load()


def _refuse_bomb(width: int, height: int, name: str) -> None:
    if Image.MAX_IMAGE_PIXELS is None:
        return
    limit = 2 * Image.MAX_IMAGE_PIXELS
    if width * height > limit:
        reason = f"{width} x {height} pixels are more than the limit of {limit}"
        raise ImageError(name, reason, "crop it or raise PIL.Image.MAX_IMAGE_PIXELS")


def _deep_png(file: BinaryIO, raw_modes: tuple[str, ...]) -> npt.NDArray[Any]:
    layers = []
    for raw_mode in raw_modes:
        file.seek(0)
        image = PngImagePlugin.PngImageFile(file)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        layers.append(np.array(image))
    if len(layers) == 1:
        return _on_white(layers[0].view(">u2").astype(np.uint16))
    pixels = layers[0].astype(np.uint16) << 8 | layers[1]
    return _on_white(pixels) if pixels.shape[2] == 4 else pixels


def _deep_tiff(file: BinaryIO, name: str) -> npt.NDArray[Any] | None:
    """Read a TIFF of 16-bit colour, which Pillow cannot; None where Pillow can."""
    file.seek(0)
    try:
        tiff = tifffile.TiffFile(file)
        page = tiff.pages[0]
    except Exception:  # Pillow tells what is wrong
        return None
    assert isinstance(page, tifffile.TiffPage)
    _refuse_bomb(page.imagewidth, page.imagelength * page.imagedepth, name)
    if page.dtype is not None and page.dtype.name not in ("bool", "uint8", "uint16"):
        raise ImageError(name, f"the pixels are {page.dtype.name}", _DEPTHS)
    if page.bitspersample != 16 or page.samplesperpixel == 1:
        return None
    grey, rgb = page.photometric == 1, page.photometric == 2
    if not (grey and page.samplesperpixel == 2 or rgb and page.samplesperpixel in (3, 4)):
        reason = f"{page.samplesperpixel} channels of 16 bits are neither grey nor RGB"
        raise ImageError(name, reason, "convert it to 16-bit RGB")
    ends = [at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if max(ends, default=0) > tiff.filehandle.size:  # tifffile would fill up with zeros
        raise ImageError(name, "the image data is cut short", AGAIN)
    try:
        pixels = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        reason = f"16-bit colour TIFF with {_compression(page)} compression is not supported"
        raise ImageError(name, reason, "save it without compression or as PNG") from error
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim != 3 or pixels.size == 0:
        raise ImageError(name, f"the image has no rows and columns ({page.axes})", AGAIN)
    pixels = pixels.astype(np.uint16)
    if page.samplesperpixel in (2, 4):
        # Extra sample 2 is plain alpha. Premultiplied or unknown ones are dropped.
        pixels = _on_white(pixels) if 2 in page.extrasamples else pixels[..., :-1]
    tag = page.tags.get("Orientation")
    return _turn(pixels, int(tag.value) if tag is not None else 1)


def _compression(page: tifffile.TiffPage) -> str:
    return str(getattr(page.compression, "name", page.compression))


def _pixels(image: Image.Image, name: str) -> npt.NDArray[Any]:
    """The pixels of a loaded image as they lie in it, H x W x 1 or H x W x 3."""
    mode = image.mode
    # Pillow opens a PGM of 16 bits as 32-bit integers, scaled to 0 ... 65535.
    if mode in _GREY_16 or (mode == "I" and image.format == "PPM"):
        return np.array(image).astype(np.uint16)[..., None]
    if mode in ("I", "F"):
        reason = f"the pixels are 32-bit {'integers' if mode == 'I' else 'floats'}"
        raise ImageError(name, reason, _DEPTHS)
    grey = mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        return _on_white(np.array(image.convert("LA" if grey else "RGBA")))
    return np.array(image.convert("L"))[..., None] if grey else np.array(image.convert("RGB"))


def _on_white(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Composite H x W x (C + 1), the last channel being alpha, on white: H x W x C."""
    white = np.uint32(np.iinfo(pixels.dtype).max)
    colour, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
    # At 16 bits the sum stays just under 2 ** 32.
    mixed = (colour * alpha + white * (white - alpha) + white // 2) // white
    return mixed.astype(pixels.dtype)


def _orientation(image: Image.Image) -> int:
    # Damaged EXIF data does not make the picture unreadable.
    with suppress(Exception):
        return int(image.getexif().get(0x0112, 1))
    return 1


def _turn(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Apply one of the eight EXIF orientations to H x W x C."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(name, f"the image is damaged or cut short ({one_line(error)})", AGAIN)
