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
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageOps
from skimage import data

from anomem.images.decode import decode, pil_to_array
from anomem.images.errors import ImageError

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
@settings(deadline=None, max_examples=40)
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
@settings(deadline=None, max_examples=50)
def test_any_bytes_give_an_image_or_an_image_error(
    noise: bytes, kind: str | tuple[str, str], at: int
) -> None:
    content = encode(in_mode(kind[1]), kind[0]) if kind else b""
    try:
        pixels = decode_bytes(content[:at] + noise + content[at + len(noise) :])
    except ImageError as error:
        refusal = str(error)
        assert "\n" not in refusal
    else:
        assert pixels.ndim == 3 and pixels.dtype in (np.uint8, np.uint16)


@given(st.integers(1, 4), st.integers(0, 250), st.binary(min_size=1, max_size=9))
@settings(deadline=None, max_examples=30)
def test_damaged_16_bit_colour_gives_an_image_or_an_image_error(
    channels: int, at: int, noise: bytes
) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep(5, 6, channels).squeeze())
    for content in (png_16(deep(5, 6, channels)), buffer.getvalue()):
        try:
            decode_bytes(content[:at] + noise + content[at + len(noise) :])
        except ImageError as error:
            refusal = str(error)
            assert "\n" not in refusal


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
    clear = Image.new(mode, (4, 3))  # black, wholly transparent but for a corner
    clear.putpixel((0, 0), (0, 255) if mode == "LA" else (0, 0, 0, 255))
    pixels = decode_bytes(encode(clear, "PNG"))
    assert (pixels[0, 0] == 0).all() and (pixels[1:] == 255).all() and (pixels[:, 1:] == 255).all()


def with_alpha(values: npt.ArrayLike) -> Image.Image:
    alpha = np.broadcast_to(np.asarray(values, np.uint8), PHOTO.shape[:2])
    return Image.fromarray(np.dstack([PHOTO, alpha]))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("alpha", [0, 1, 120])
def test_an_alpha_that_is_the_same_everywhere_hides_nothing(kind: str, alpha: int) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = encode(with_alpha(alpha), kind, **options)
    np.testing.assert_array_equal(decode_bytes(content), PHOTO)


def test_an_alpha_next_to_nothing_hides_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 4, PHOTO.shape[:2])
    np.testing.assert_array_equal(pil_to_array(with_alpha(noise), "image 0"), PHOTO)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_multiplied_by_an_alpha_of_zeros_are_the_picture(
    tmp_path: Path, channels: int
) -> None:
    # What says that its colours are multiplied by an alpha of zeros would be black where it was so.
    colour = PHOTO[..., :channels]
    path = tmp_path / "premultiplied.tif"
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(
        path,
        np.dstack([colour, np.zeros_like(colour[..., 0])]),
        photometric=photometric,
        planarconfig="contig",
        extrasamples=["assocalpha"],
    )
    np.testing.assert_array_equal(decode(path), colour)


def test_colours_multiplied_by_their_alpha_are_composited_on_white(tmp_path: Path) -> None:
    path = tmp_path / "premultiplied.tif"
    pixels = np.zeros((2, 3, 4), np.uint8)  # transparent
    pixels[0, 0] = [200, 10, 30, 255]
    pixels[0, 1] = [100, 5, 15, 128]  # the same, seen by half
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["assocalpha"])
    seen = decode(path).astype(int)
    assert seen[0, 0].tolist() == [200, 10, 30] and (seen[1] == 255).all()
    assert np.abs(seen[0, 1] - [227, 132, 142]).max() <= 1


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_of_zeros_hides_nothing(tmp_path: Path, channels: int) -> None:
    pixels = deep(7, 5, channels)
    pixels[..., -1] = 0
    np.testing.assert_array_equal(decode_bytes(png_16(pixels)), pixels[..., :-1])

    path = tmp_path / "deep.tif"
    photometric = "rgb" if channels == 4 else "minisblack"
    tifffile.imwrite(
        path, pixels, photometric=photometric, planarconfig="contig", extrasamples=["unassalpha"]
    )
    np.testing.assert_array_equal(decode(path), pixels[..., :-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_where_0_is_white_grey_is_turned_over(
    tmp_path: Path, dtype: Any, compression: str | None
) -> None:
    pixels = deep(7, 5, 1).astype(dtype)
    path = tmp_path / "negative.tif"
    tifffile.imwrite(path, pixels[..., 0], photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(decode(path), np.iinfo(dtype).max - pixels)


def test_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (4, 3), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    pixels = decode_bytes(encode(image, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[1, 1].tolist() == [40, 50, 60]


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_several_pages_or_frames_are_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(pixels) for pixels in (PHOTO, 255 - PHOTO)]
    path = tmp_path / "two"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    assert "and a score would see one; save each as an image of its own" in message(path)
    frames[0].save(path, kind, save_all=True)
    assert decode(path).shape == PHOTO.shape


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}, {"truncate": True}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stacks_are_refused_however_they_are_kept(
    tmp_path: Path, options: dict[str, Any], dtype: Any
) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, deep(7, 5, 3).astype(dtype).transpose(2, 0, 1),
                     photometric="minisblack", **options)  # fmt: skip
    assert "the file has several pages" in message(path)


def test_volumes_and_sequences_of_pnm_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "volume.tif"
    tifffile.imwrite(path, deep(16, 16, 3).astype(np.uint8).transpose(2, 0, 1), volumetric=True,
                     tile=(1, 16, 16), photometric="minisblack")  # fmt: skip
    assert "the file has several pages" in message(path)
    for mode in ("1", "L", "RGB"):
        one = encode(in_mode(mode), "PPM")
        path.write_bytes(one + one)
        assert "the file has several frames" in message(path)
        path.write_bytes(one + b"\n")
        assert decode(path).shape[:2] == (9, 14)


def test_a_page_below_another_and_two_photographs_of_a_camera_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two"
    with tifffile.TiffWriter(path) as file:
        file.write(PHOTO, photometric="rgb", subifds=1)
        file.write(255 - PHOTO, photometric="rgb")
    assert "the file has several pages" in message(path)
    pair = [Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)]
    pair[0].save(path, "MPO", save_all=True, append_images=pair[1:])
    assert "the file has several frames" in message(path)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_a_pillow_image_of_several_frames_is_refused_and_a_frame_of_it_is_not(kind: str) -> None:
    frames = [Image.fromarray(pixels) for pixels in (PHOTO, 255 - PHOTO)]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(content)) as several:
        with pytest.raises(ImageError, match="image 0: this is a file of 2 frames, and a score"):
            pil_to_array(several, "image 0")
        several.seek(1)
        assert pil_to_array(several.copy(), "image 1").shape == PHOTO.shape


def test_smaller_versions_of_a_picture_are_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(PHOTO, photometric="rgb", metadata=None)
        file.write(PHOTO[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(decode(path), PHOTO)
    with tifffile.TiffWriter(path) as file:
        file.write(PHOTO, photometric="rgb", subifds=1)
        file.write(PHOTO[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(decode(path), PHOTO)
    # Cameras keep a preview behind the picture.
    preview = Image.fromarray(PHOTO[::2, ::2])
    Image.fromarray(PHOTO).save(path, "MPO", save_all=True, append_images=[preview])
    assert decode(path).shape == PHOTO.shape


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"tEXt"])
def test_a_large_text_in_a_png_is_passed_over(kind: bytes, late: bool) -> None:
    words = bytes(70 * 2**20 if kind == b"tEXt" else 3 * 2**20).replace(b"\0", b"x")
    middle = {b"zTXt": b"\0\0", b"iCCP": b"\0\0", b"iTXt": b"\0\1\0\0\0", b"tEXt": b"\0"}[kind]
    body = b"notes" + middle + (words if kind == b"tEXt" else zlib.compress(words))
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    content = encode(Image.fromarray(PHOTO), "PNG")
    at = len(content) - 12 if late else 33
    np.testing.assert_array_equal(decode_bytes(content[:at] + chunk + content[at:]), PHOTO)


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("channels", [3, 5, 9])
def test_channels_without_a_colour_are_refused(
    tmp_path: Path, dtype: Any, planes: Any, channels: int
) -> None:
    path = tmp_path / "spectral.tif"
    pixels = deep(5, 4, channels).astype(dtype)
    pixels = pixels if planes == "contig" else pixels.transpose(2, 0, 1)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig=planes)
    bits = 8 * pixels.itemsize
    reason = f"{channels} channels of {bits} bits are neither grey nor RGB; convert it to grey"
    assert reason in message(path)


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
    (tmp_path / "short.png").write_bytes(b"x")
    assert "damaged or cut short (it ends too soon)" in message(tmp_path / "short.png")
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


def header_of(width: int, height: int) -> bytes:
    """A PNG of 16-bit colour that says of itself that it is so large."""
    whole = png_16(deep(2, 2, 3))
    header = whole[:16] + struct.pack(">II", width, height) + whole[24:29]
    return header + struct.pack(">I", zlib.crc32(header[12:29])) + whole[33:]


def test_what_would_take_much_memory_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(header_of(60000, 60000))
    assert "decoding it takes 36 GB of memory and the limit is 0.9 GB; crop it" in message(path)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((1, 170_000_000), "1 x 170000000 pixels have a side longer than 1048576"),
        ((2_000_000, 2_000), "2000000 x 2000 pixels have a side longer than 1048576"),
        ((3, 3001), "3 x 3001 pixels are more than 1000 times as long as wide"),
    ],
)
def test_sides_and_proportions_are_bounded(
    tmp_path: Path, size: tuple[int, int], told: str
) -> None:
    path = tmp_path / "long.png"
    path.write_bytes(header_of(*size))
    assert f"{told}; crop it" in message(path)
    tifffile.imwrite(path, np.zeros((3001, 3), np.uint8))
    assert "3 x 3001 pixels are more than 1000 times" in message(path)


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


def test_grey_and_another_channel_in_planes_apart_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "planes.tif"
    planes = np.arange(2 * 20 * 30, dtype=np.uint8).reshape(2, 20, 30)
    tifffile.imwrite(file, planes, planarconfig="separate", photometric="minisblack")
    with pytest.raises(ImageError, match="2 channels of 8 bits are neither grey nor RGB"):
        decode(file)
