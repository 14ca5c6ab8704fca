from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from skimage import data

from anomem.config import FramingKind
from anomem.images import framing as framing_module
from anomem.images.combined import JoinedSource, choose
from anomem.images.errors import ImageError
from anomem.images.framing import (
    Box,
    FrameSource,
    Framing,
    assembled,
    boxes,
    cut,
    framed_mask,
    frames_of,
)
from anomem.images.open import open_images
from anomem.images.resize import ImageShape, to_shape

PHOTO: npt.NDArray[np.uint8] = data.astronaut()[:60, :100]
SQUARE = ImageShape(3, 32, 32)
sides = st.integers(1, 120)


def marked(size: tuple[int, int], found: list[Box]) -> npt.NDArray[np.int64]:
    """How many boxes hold each pixel of an image."""
    count = np.zeros(size, dtype=np.int64)
    for row in range(size[0]):
        for column in range(size[1]):
            count[row, column] = sum(
                b.top <= row < b.top + b.height and b.left <= column < b.left + b.width
                for b in found
            )
    return count


def frames(image: npt.NDArray[Any], framing: Framing) -> list[npt.NDArray[Any]]:
    """The frames of one image."""
    return list(frames_of(open_images([image]), 0, framing))


@pytest.mark.parametrize(("reduced", "side"), [(True, 64), (False, 512)])
def test_large_jpeg_files_are_read_at_twice_the_frame(
    tmp_path: Path, reduced: bool, side: int
) -> None:
    for name in ("a", "b"):
        Image.fromarray(data.astronaut()).save(tmp_path / f"{name}.jpg")
    framing = Framing("resize", SQUARE, reduced=reduced)
    source = open_images(tmp_path)
    both = JoinedSource([source, choose(source, np.array([1]))])
    for index in range(3):
        (frame,) = frames_of(both, index, framing)
        assert frame.shape == (side, side, 3)


def test_a_letterbox_has_the_proportions_of_the_frame_and_holds_the_image() -> None:
    assert boxes((60, 100), Framing("letterbox", SQUARE)) == [Box(-20, 0, 100, 100)]
    assert boxes((100, 60), Framing("letterbox", SQUARE)) == [Box(0, -20, 100, 100)]
    assert boxes((60, 100), Framing("letterbox", ImageShape(3, 32, 64))) == [Box(0, -10, 60, 120)]


def test_beyond_the_image_its_edge_is_repeated() -> None:
    (letterbox,) = frames(PHOTO, Framing("letterbox", SQUARE))
    np.testing.assert_array_equal(letterbox[20:80], PHOTO)
    assert (letterbox[:20] == PHOTO[0]).all() and (letterbox[80:] == PHOTO[-1]).all()


@given(height=sides, width=sides)
@settings(deadline=None, max_examples=30)
def test_tiles_cover_the_image_and_share_a_quarter(height: int, width: int) -> None:
    tiles = boxes((height, width), Framing("tile", SQUARE))
    assert marked((height, width), tiles).min() >= 1
    assert {(tile.height, tile.width) for tile in tiles} == {(32, 32)}
    for starts, side in (({t.top for t in tiles}, height), ({t.left for t in tiles}, width)):
        steps = np.diff(sorted(starts))
        assert (steps <= 24 + 1).all() and (steps >= 1).all()
        if side >= 32:
            assert min(starts) == 0 and max(starts) + 32 == side


def test_tiles_are_pixels_of_the_image() -> None:
    tiles = frames(PHOTO, Framing("tile", SQUARE))
    for tile, box in zip(tiles, boxes((60, 100), Framing("tile", SQUARE)), strict=True):
        np.testing.assert_array_equal(tile, PHOTO[box.top : box.top + 32, box.left : box.left + 32])
    (only,) = frames(PHOTO[:32, :32], Framing("tile", SQUARE))
    np.testing.assert_array_equal(only, PHOTO[:32, :32])


def test_frames_are_shown_one_by_one() -> None:
    images = open_images([PHOTO, np.zeros((3, 3, 2), np.uint8), PHOTO[:32, :32]])
    shown = FrameSource(images, Framing("tile", SQUARE))
    assert shown.names[11:] == ["image 0 (tile 12)", "image 1 (tile 1)", "image 2 (tile 1)"]
    for index, tile in enumerate(frames(PHOTO, Framing("tile", SQUARE))):
        np.testing.assert_array_equal(shown[index], tile)
    with pytest.raises(ImageError, match="image 1: the shape 3 x 3 x 2 is not that of an image"):
        shown[12]
    whole = FrameSource(images, Framing("resize", SQUARE))
    assert whole.names == images.names
    np.testing.assert_array_equal(whole[2], PHOTO[:32, :32])


def test_tiles_without_a_part_of_the_region_are_left_out() -> None:
    region = np.zeros((60, 100), dtype=bool)
    region[:40, :20] = region[40:, 80:] = True
    tiles = boxes((60, 100), Framing("tile", SQUARE, region))
    everywhere = boxes((60, 100), Framing("tile", SQUARE))
    kept = [tile for tile in everywhere if cut(region[..., None], tile).any()]
    assert tiles == kept and len(kept) < len(everywhere)


@pytest.mark.parametrize("kind", ["resize", "letterbox", "tile"])
def test_nothing_outside_of_the_region_is_in_a_frame(kind: str) -> None:
    region = np.zeros((6, 10), dtype=bool)
    region[1:4, 2:9] = True
    region[1, 2] = False
    framing = Framing(kind, SQUARE, region)  # type: ignore[arg-type]
    other = data.coffee()[:60, :100].copy()
    inside = region.repeat(10, 0).repeat(10, 1)
    other[inside] = PHOTO[inside]
    one, two = frames(PHOTO, framing), frames(other, framing)
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if kind == "resize":
        assert one[0].shape == (30, 70, 3)
        np.testing.assert_array_equal(one[0][10:], PHOTO[20:40, 20:90])


@given(height=sides, width=sides)
@settings(deadline=None, max_examples=20)
def test_maps_of_frames_are_brought_back_to_their_pixels(height: int, width: int) -> None:
    values = np.random.default_rng(0).random((height, width), dtype=np.float32)
    for kind in ("resize", "letterbox", "tile"):
        found = boxes((height, width), Framing(kind, SQUARE))
        maps = ((box, cut(values[..., None], box)[..., 0]) for box in found)
        np.testing.assert_allclose(assembled(maps, (height, width), None), values, rtol=1e-5)


def test_overlapping_maps_are_averaged_and_the_outside_is_cold() -> None:
    ones, threes = np.ones((2, 2), np.float32), np.full((2, 2), 3, np.float32)
    pair = [(Box(0, 0, 2, 2), ones), (Box(0, 1, 2, 2), threes)]
    np.testing.assert_array_equal(assembled(pair, (2, 4), None), [[1, 2, 3, 0]] * 2)
    region = np.array([[True, True, True, True], [False, False, False, False]])
    np.testing.assert_array_equal(assembled(pair, (2, 4), region), [[1, 2, 3, 0], [0] * 4])


@pytest.mark.parametrize("kind", ["letterbox", "resize"])
@pytest.mark.parametrize("deep", [False, True])
def test_large_frames_are_brought_to_their_shape_as_they_are_cut(
    monkeypatch: pytest.MonkeyPatch, kind: FramingKind, deep: bool
) -> None:
    image = data.astronaut()[:300].astype(np.uint16) * 257 if deep else data.astronaut()[:300]
    framing = Framing(kind, SQUARE, region=np.array([[True, False], [True, True]]))
    (whole,) = frames(image, framing)
    monkeypatch.setattr(framing_module, "_LARGE", 1000)
    (small,) = frames(image, framing)
    assert whole.shape[1] == 512 and small.shape == (32, 32, 3) and small.dtype == image.dtype
    difference = to_shape(small, SQUARE).astype(int) - to_shape(whole, SQUARE)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("kind", ["resize", "letterbox", "tile"])
@pytest.mark.parametrize("region", [False, True])
@pytest.mark.parametrize("side", [8, 32, 150])
def test_a_mask_goes_through_the_framing_of_its_image(
    kind: FramingKind, region: bool, side: int
) -> None:
    """A pixel of a frame is marked where a marked pixel of what it was cut from lies in it."""
    mask = np.random.default_rng(0).random(PHOTO.shape[:2]) < 0.01
    inside = np.zeros_like(mask)
    inside[10:40, 20:90] = True
    framing = Framing(kind, ImageShape(3, side, side), inside if region else None)
    found = framed_mask(mask, framing)
    where = boxes(mask.shape, framing)
    assert found.shape == (len(where), side, side)
    for frame, box in zip(found, where, strict=True):
        held = cut(mask & inside if region else mask, box)
        expected = np.zeros((side, side), dtype=bool)
        for row in range(side):
            for column in range(side):
                top, left = row * box.height // side, column * box.width // side
                bottom = max((row + 1) * box.height // side, top + 1)
                right = max((column + 1) * box.width // side, left + 1)
                expected[row, column] = held[top:bottom, left:right].any()
        np.testing.assert_array_equal(frame, expected)
