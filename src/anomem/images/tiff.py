"""What Pillow does not tell or read of a TIFF file: its pages, and 16-bit colour."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from anomem.images.decode_memory import BUDGET, deep_cost, size_problem
from anomem.images.errors import AGAIN, ImageError
from anomem.images.layers import DEPTHS, Layers

if TYPE_CHECKING:
    import tifffile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
APART = "save each as an image of its own"
_REDUCED_OR_MASK = 1 | 4
"""Bits of the tag NewSubfileType: a smaller version of another page, a mask of one."""
_OLD_REDUCED = 2
"""Value of the tag SubfileType."""
_MOST_REDUCED = 64
_DEFLATE = (8, 32946)
_WHITE_IS_0, _BLACK_IS_0, _RGB = 0, 1, 2
_SEPARATE = 2
"""Value of the tag PlanarConfiguration."""


def open_tiff(file: BinaryIO) -> tifffile.TiffFile | None:
    """Open a file with tifffile; None where it sees none, and Pillow may tell what is wrong."""
    from tifffile import TiffFile  # it is loaded where there is a TIFF file

    file.seek(0)
    try:
        opened = TiffFile(file)
        return None if _as_page(opened.pages[0]) is None else opened
    except Exception:
        return None


def first_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """Give its first page."""
    page = _as_page(tiff.pages[0])
    assert page is not None
    return page


def refuse_pages(tiff: tifffile.TiffFile, name: str) -> None:
    """Refuse a file of several pages; smaller versions of the first one and masks are none.

    Raises:
        ImageError: It has several.
    """
    page = first_page(tiff)
    several = page.imagedepth > 1 or (
        # These may hold many pages behind one entry.
        (tiff.is_imagej or tiff.is_shaped) and tiff.series[0].size > page.size
    )
    for index in range(1, _MOST_REDUCED):
        try:
            other = tiff.pages[index]
        except Exception:  # the end of the list, or of what can be read of it
            break
        found = _as_page(other)
        several = several or found is None or not _is_reduced(found)
    if several or _has_page_below(page):
        raise ImageError(name, "the file has several pages, and a score would see one", APART)


def deep_colour(tiff: tifffile.TiffFile, name: str) -> Layers | None:
    """Read a TIFF of 16-bit colour, which Pillow cannot, upright; None where Pillow can.

    Raises:
        ImageError: It is damaged, or of pixels that are no image of 8 or 16 bits.
    """
    page = first_page(tiff)
    if problem := size_problem(page.imagewidth, page.imagelength):
        raise ImageError(name, problem, "crop it or cut it")
    if page.dtype is not None and page.dtype.name not in ("bool", "uint8", "uint16"):
        raise ImageError(name, f"the pixels are {page.dtype.name}", DEPTHS)
    _refuse_channels(page, name)
    samples = page.samplesperpixel
    if page.bitspersample != 16 or samples == 1:
        return None
    BUDGET.take(deep_cost(page), name)
    _refuse_damage(tiff, page, name)
    try:
        pixels = page.asarray(maxworkers=1)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        compression = getattr(page.compression, "name", page.compression)
        reason = f"16-bit colour TIFF with {compression} compression is not supported"
        raise ImageError(name, reason, "save it without compression or as PNG") from error
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim != 3 or pixels.size == 0:
        raise ImageError(name, f"the image has no rows and columns ({page.axes})", AGAIN)
    pixels = pixels.astype(np.uint16, copy=False)
    tag = page.tags.get("Orientation")
    orientation = int(tag.value) if tag is not None else 1
    if samples == 3:
        return Layers(pixels).turned(orientation)
    inks = pixels[..., :-1]
    if page.photometric == _WHITE_IS_0:
        inks = 65535 - inks
    # Extra sample 2 is plain alpha. Premultiplied or unknown ones are dropped.
    return Layers(inks, pixels[..., -1] if 2 in page.extrasamples else None).turned(orientation)


def _refuse_channels(page: tifffile.TiffPage, name: str) -> None:
    """Refuse channels that are neither grey nor RGB, with an alpha or without."""
    samples, grey = page.samplesperpixel, page.photometric in (_WHITE_IS_0, _BLACK_IS_0)
    colour = (grey and samples <= 2) or (page.photometric == _RGB and samples in (3, 4))
    # Pillow reads grey beside an alpha where they alternate, and fails where they are apart.
    apart = samples == 2 and page.planarconfig == _SEPARATE and page.bitspersample == 8
    several = samples > 4 or (grey and samples > 2) or apart
    if (apart or not colour) and (several or page.bitspersample == 16):
        reason = f"{samples} channels of {page.bitspersample} bits are neither grey nor RGB"
        raise ImageError(name, reason, "convert it to grey or RGB, or save the channels apart")


def white_is_0(page: tifffile.TiffPage) -> bool:
    """Tell whether 0 is white in a page of one 16-bit channel, which Pillow does not turn over."""
    return page.photometric == _WHITE_IS_0 and page.bitspersample == 16


def _has_page_below(page: tifffile.TiffPage) -> bool:
    for index in range(min(len(page.subifds or ()), _MOST_REDUCED)):
        try:
            below = page.pages[index] if page.pages is not None else None
        except Exception:  # the end of what can be read of them
            break
        found = _as_page(below)
        if found is not None and not _is_reduced(found):
            return True
    return False


def _as_page(found: object) -> tifffile.TiffPage | None:
    """What is found in a list of pages, if it is one."""
    from tifffile import TiffPage

    return found if isinstance(found, TiffPage) else None


def _is_reduced(page: tifffile.TiffPage) -> bool:
    old = page.tags.get("SubfileType")
    reduced = page.subfiletype & _REDUCED_OR_MASK
    return bool(reduced) or (old is not None and old.value == _OLD_REDUCED)


def _refuse_damage(tiff: tifffile.TiffFile, page: tifffile.TiffPage, name: str) -> None:
    ends = [at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if max(ends, default=0) > tiff.filehandle.size:  # tifffile would fill up with zeros
        raise ImageError(name, "the image data is cut short", AGAIN)
    if page.compression not in _DEFLATE:
        return
    # tifffile inflates whatever comes, be it a thousand times what the page holds.
    most = deep_cost(page)
    for at, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        tiff.filehandle.seek(at)
        inflating = zlib.decompressobj()
        inflating.decompress(tiff.filehandle.read(size), most)
        if inflating.unconsumed_tail:
            raise ImageError(name, "its compressed data hold more than the image", AGAIN)
