import io
import os
import struct
import tempfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from skimage import data

from anomem.data.decode import decode, pil_to_array
from anomem.data.opening import ImageError

PHOTO: npt.NDArray[np.uint8] = data.astronaut()[:96, 160:288]
# What each format can hold.
KINDS = [
    *[("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("JPEG", mode) for mode in ("L", "RGB", "CMYK")],
    *[("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16")],
    *[("WEBP", mode) for mode in ("RGB", "RGBA")],
]


def deep(height: int, width: int, channels: int) -> npt.NDArray[np.uint16]:
    values = np.random.default_rng(0).integers(0, 65536, (height, width, channels))
    return values.astype(np.uint16)


def png_16(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits, which Pillow writes in grey only."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def in_mode(mode: str, height: int = 9, width: int = 14) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(deep(height, width, 1)[..., 0])
    rgba = np.dstack([PHOTO, PHOTO[..., 0]])[:height, :width]
    return Image.fromarray(rgba).convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode_bytes(content: bytes) -> npt.NDArray[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        path.write_bytes(content)
        return decode(path)


def message(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        decode(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and text.endswith(".") and "\n" not in text
    return text


@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 40), st.integers(1, 8))
@settings(deadline=None, max_examples=80)
def test_every_mode_and_format_has_the_shape_and_depth_of_pillow(
    kind: tuple[str, str], height: int, width: int, orientation: int
) -> None:
    kind_name, mode = kind
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(in_mode(mode, height, width), kind_name, exif=exif.tobytes())
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))

    pixels = decode_bytes(content)

    channels = 1 if mode in ("1", "L", "LA", "I;16") else 3
    assert pixels.shape == (expected.height, expected.width, channels)
    assert pixels.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    if mode in ("1", "L", "RGB", "CMYK"):
        expected = expected.convert("L" if channels == 1 else "RGB")
    if mode in ("1", "L", "RGB", "CMYK", "I;16"):
        np.testing.assert_array_equal(pixels.squeeze(), np.array(expected).squeeze())


@pytest.mark.parametrize(("kind", "mode"), KINDS)
def test_a_file_cut_short_anywhere_is_an_image_error(kind: str, mode: str) -> None:
    content = encode(in_mode(mode, 40, 40), kind)
    for length in np.linspace(1, len(content) // 2, 12).astype(int):
        with pytest.raises(ImageError):
            decode_bytes(content[:length])


@given(st.binary(max_size=200), st.sampled_from(["", *KINDS]), st.integers(0, 400))
@settings(deadline=None, max_examples=150)
def test_any_bytes_give_an_image_or_an_image_error(
    noise: bytes, kind: str | tuple[str, str], at: int
) -> None:
    content = encode(in_mode(kind[1]), kind[0]) if kind else b""
    try:
        pixels = decode_bytes(content[:at] + noise + content[at + len(noise) :])
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert pixels.ndim == 3 and pixels.dtype in (np.uint8, np.uint16)


@given(st.integers(1, 4), st.integers(0, 250), st.binary(min_size=1, max_size=9))
@settings(deadline=None, max_examples=60)
def test_damaged_16_bit_colour_gives_an_image_or_an_image_error(
    channels: int, at: int, noise: bytes
) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep(5, 6, channels).squeeze())
    for content in (png_16(deep(5, 6, channels)), buffer.getvalue()):
        try:
            decode_bytes(content[:at] + noise + content[at + len(noise) :])
        except ImageError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_16_bits_keeps_its_depth(channels: int) -> None:
    pixels = deep(7, 5, channels)
    np.testing.assert_array_equal(decode_bytes(png_16(pixels)), pixels)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_of_16_bits_keeps_its_depth(
    tmp_path: Path, byteorder: Any, channels: int, compression: str | None
) -> None:
    pixels = deep(7, 5, channels)
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, pixels.squeeze(), byteorder=byteorder, compression=compression)
    np.testing.assert_array_equal(decode(path), pixels)


def test_tiff_of_16_bit_planes_is_read(tmp_path: Path) -> None:
    pixels = deep(7, 5, 3)
    path = tmp_path / "planes.tif"
    planes = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(decode(path), pixels)


def test_16_bit_colour_is_turned_upright(tmp_path: Path) -> None:
    pixels = deep(7, 5, 3)
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(decode(path), np.rot90(pixels, k=-1))


def test_pgm_of_16_bits_keeps_its_depth() -> None:
    pixels = deep(7, 5, 1)
    content = b"P5 5 7 65535\n" + pixels.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode_bytes(content), pixels)


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_transparency_is_composited_on_white(tmp_path: Path, channels: int) -> None:
    pixels = deep(7, 5, channels)
    pixels[..., -1] = 65535
    pixels[0, 0, -1] = 0
    expected = pixels[..., :-1].copy()
    expected[0, 0] = 65535
    np.testing.assert_array_equal(decode_bytes(png_16(pixels)), expected)

    path = tmp_path / "deep.tif"
    photometric = "rgb" if channels == 4 else "minisblack"
    tifffile.imwrite(
        path, pixels, photometric=photometric, planarconfig="contig", extrasamples=["unassalpha"]
    )
    np.testing.assert_array_equal(decode(path), expected)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_composited_on_white(mode: str) -> None:
    clear = Image.new(mode, (4, 3))  # black, wholly transparent
    assert (decode_bytes(encode(clear, "PNG")) == 255).all()


def test_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (4, 3), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    pixels = decode_bytes(encode(image, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[1, 1].tolist() == [40, 50, 60]


def test_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode_bytes(content)[0, 0].tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32", "int16", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_pixel_types_are_refused(tmp_path: Path, dtype: str, channels: int) -> None:
    path = tmp_path / "depth.tif"
    photometric = "rgb" if channels == 3 else "minisblack"
    pixels = np.zeros((5, 4, channels), dtype).squeeze()
    tifffile.imwrite(path, pixels, photometric=photometric)
    assert f"the pixels are {dtype}; convert it to 8 or 16 bits" in message(path)


def test_float_pillow_image_is_refused() -> None:
    with pytest.raises(ImageError, match="image 3: the pixels are 32-bit floats; convert it"):
        pil_to_array(Image.new("F", (4, 4)), "image 3")


def test_16_bit_channels_without_a_colour_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "spectral.tif"
    tifffile.imwrite(path, deep(5, 4, 5), photometric="minisblack", planarconfig="contig")
    assert "5 channels of 16 bits are neither grey nor RGB; convert it" in message(path)


def test_16_bit_colour_tiff_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, deep(64, 64, 3), compression="zlib")
    path.write_bytes(path.read_bytes()[:-4000])
    assert "cut short; remove it or export it again" in message(path)


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="imagecodecs reads LZW")
def test_16_bit_colour_tiff_of_another_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lzw.tif"
    tifffile.imwrite(path, deep(5, 4, 3), compression="zlib")
    tag = struct.pack("<HHI", 259, 3, 1)
    zlib_tag, lzw_tag = (tag + struct.pack("<H", number) for number in (8, 5))
    path.write_bytes(path.read_bytes().replace(zlib_tag, lzw_tag))
    assert "TIFF with LZW compression is not supported; save it without" in message(path)


def test_bad_files_are_told_apart(tmp_path: Path) -> None:
    empty, text, folder, link, damaged = (
        tmp_path / name for name in ("empty.png", "text.png", "folder.png", "link.png", "bad.png")
    )
    empty.touch()
    text.write_text("not an image")
    folder.mkdir()
    link.symlink_to(tmp_path / "gone.png")
    damaged.write_bytes(encode(Image.fromarray(PHOTO), "PNG")[:500])
    assert "the file is empty (0 bytes); remove it" in message(empty)
    assert "not an image of a known format (PNG, JPEG" in message(text)
    assert "this is a folder, not an image; give the files in it" in message(folder)
    assert "gone.png, which does not exist; restore that file" in message(link)
    assert "the image is damaged or cut short" in message(damaged)
    assert "there is no such file; check the path" in message(tmp_path / "none.png")
    assert "the file cannot be opened (" in message(empty / "below a file.png")
    assert "the file cannot be opened (" in message(tmp_path / "null\0character.png")
    assert "the file cannot be opened (" in message(tmp_path / ("long" * 99))


def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    assert "this is a device or a pipe; give a regular file" in message(path)


def test_unreadable_file_is_refused(locked_folder: Path) -> None:
    path = locked_folder / "secret.png"
    assert "permission denied; let this user read the file" in message(path)


def test_decompression_bomb_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = png_16(deep(2, 2, 3))
    huge = header[:16] + struct.pack(">II", 60000, 60000) + header[24:29]
    huge += struct.pack(">I", zlib.crc32(huge[12:29])) + header[33:]
    path = tmp_path / "huge.png"
    path.write_bytes(huge)
    assert "60000 x 60000 pixels are more than the limit of 178956970; crop it" in message(path)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    paths = [tmp_path / name for name in ("a.jpg", "b.png", "c.tif", "d.gif")]
    paths[0].write_bytes(encode(in_mode("RGB"), "JPEG"))
    paths[1].write_bytes(png_16(deep(9, 14, 3)))
    tifffile.imwrite(paths[2], deep(9, 14, 3))
    paths[3].write_bytes(encode(in_mode("P"), "GIF"))
    for path in paths:
        assert "14 x 9 pixels are more than the limit of 20; crop it" in message(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
def test_large_image_gives_no_warning_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content = encode(in_mode("RGB", 9, 14), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # of 126
    filters = list(warnings.filters)
    assert decode_bytes(content).shape == (9, 14, 3)
    assert list(warnings.filters) == filters

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_bytes(content).shape == (9, 14, 3)


def test_threads_read_what_one_reads(tmp_path: Path) -> None:
    paths = []
    for index, (kind, mode) in enumerate(KINDS):
        paths.append(tmp_path / str(index))
        paths[-1].write_bytes(encode(in_mode(mode, 60, 60), kind))
    paths.append(tmp_path / "deep")
    paths[-1].write_bytes(png_16(deep(60, 60, 3)))
    expected = [decode(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for index, pixels in enumerate(pool.map(decode, paths * 5)):
            np.testing.assert_array_equal(pixels, expected[index % len(paths)])


def test_result_can_be_written_to() -> None:
    for kind, mode in KINDS:
        assert decode_bytes(encode(in_mode(mode), kind)).flags.writeable


def jpeg(path: Path, pixels: npt.NDArray[np.uint8], **options: Any) -> Path:
    Image.fromarray(pixels).save(path, quality=95, **options)
    return path


@pytest.mark.parametrize(
    ("least", "size"), [(512, (512, 512)), (256, (256, 256)), (100, (128, 128)), (8, (64, 64))]
)
def test_a_jpeg_file_is_decoded_no_larger_than_need_be(
    tmp_path: Path, least: int, size: tuple[int, int]
) -> None:
    whole = data.astronaut()
    found = decode(jpeg(tmp_path / "a.jpg", whole), least)
    assert found.shape == (*size, 3)
    factor = 512 // size[0]
    blocks = whole.reshape(size[0], factor, size[1], factor, 3).mean(axis=(1, 3))
    assert np.abs(found - blocks).mean() < 3


def test_reduced_decoding_keeps_the_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.ascontiguousarray(data.astronaut()[:256])
    found = decode(jpeg(tmp_path / "a.jpg", wide, exif=exif), 64)
    assert found.shape == (128, 64, 3)
    whole = decode(tmp_path / "a.jpg")
    assert np.abs(found - whole.reshape(128, 4, 64, 4, 3).mean(axis=(1, 3))).mean() < 3


def test_other_formats_are_decoded_whole(tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 8), data.astronaut())
