"""What Pillow does not read of a PNG file: colour of 16 bits, and large texts."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
from PIL import PngImagePlugin

from anomem.images.decode_memory import BUDGET, deep_png_cost
from anomem.images.layers import Layers, orientation_of, strips

# How Pillow unpacks 16-bit PNG by colour type: the high bytes, then the low bytes of RGB and RGBA;
# the two bytes of grey and the two of alpha together, as if they were RGBA of 8 bits.
_RAW_MODES = {2: ("RGB;16B", "RGB;16L"), 4: ("RGBA",), 6: ("RGBA;16B", "RGBA;16L")}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_INFLATES_LITTLE = 1000
"""Bytes that inflate to no more than the mebibyte of text up to which Pillow reads a file."""
_LARGE_TEXT = 2**16
"""Bytes of a text as it is, of all of which Pillow reads 64 mebibytes."""


def is_deep(head: bytes) -> bool:
    """Tell whether the first 26 bytes are of a PNG of 16-bit colour, which Pillow would cut."""
    # Byte 24 is the bit depth, byte 25 the colour type.
    return head.startswith(_SIGNATURE) and head[24:25] == b"\x10" and head[25] in _RAW_MODES


def deep_png(file: BinaryIO, head: bytes, name: str) -> Layers:
    """Read a PNG of 16-bit colour, or of grey with transparency, of which the head is, upright.

    torchvision's decoder is twice as fast, but some damaged files end its process.
    """
    width, height = struct.unpack(">II", head[16:24])
    raw_modes, channels = _RAW_MODES[head[25]], {2: 3, 4: 1, 6: 3}[head[25]]
    clear = head[25] != 2
    BUDGET.take(deep_png_cost(width, height, channels + clear), name)
    colour = np.empty((height, width, channels), np.uint16)
    alpha = np.empty((height, width), np.uint16) if clear else None
    file = without_texts(file, name)
    for low, raw_mode in enumerate(raw_modes):
        file.seek(0)
        image = PngImagePlugin.PngImageFile(file)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        for rows in strips(height, width):
            strip = np.asarray(image.crop((0, rows.start, width, rows.stop)))
            if len(raw_modes) == 1:
                values = strip.view(">u2")
            else:
                values = strip.astype(np.uint16) << (0 if low else 8)
            if low:
                colour[rows] |= values[..., :channels]
            else:
                colour[rows] = values[..., :channels]
            if alpha is not None:
                alpha[rows] = values[..., -1] | (alpha[rows] if low else 0)
    return Layers(colour, alpha).turned(orientation_of(image))


def without_texts(file: BinaryIO, name: str) -> BinaryIO:
    """Leave the large texts and profiles out of a PNG, for which Pillow refuses a file."""
    texts = []
    file.seek(len(_SIGNATURE))
    while len(chunk := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", chunk)
        start = file.tell() - len(chunk)
        most = {b"tEXt": _LARGE_TEXT}.get(kind, _INFLATES_LITTLE if kind in _COMPRESSED else length)
        if length > most:
            texts.append((start, start + length + 12))
        file.seek(length + 4, io.SEEK_CUR)
    if not texts:
        return file
    end = file.seek(0, io.SEEK_END)
    BUDGET.take(end, name)
    kept, at = io.BytesIO(), 0
    for start, stop in [*texts, (end, end)]:
        file.seek(at)
        kept.write(file.read(start - at))
        at = stop
    return kept
