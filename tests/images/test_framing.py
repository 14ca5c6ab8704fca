from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from anomem.config import FramingKind
from anomem.images import framing as framing_module
from anomem.images.combined import JoinedSource, choose
from anomem.images.errors import ImageError
from anomem.images.frame_shape import typical_image
from anomem.images.framing import Box, FramedSource, Framing, assembled, boxes, cut, frame
from anomem.images.open import open_images
from anomem.images.prepare import prepare_frames, read
from anomem.images.resize import ImageShape, to_shape
from anomem.images.source import ImageSource

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


def test_a_resized_image_is_passed_on_as_it_is() -> None:
    source = open_images(PHOTO[None])
    framed = frame(source, Framing("resize", SQUARE))
    assert framed.frames is source and framed.image.tolist() == [0]


@pytest.mark.parametrize(("reduced", "side"), [(True, 64), (False, 512)])
def test_large_jpeg_files_are_read_at_twice_the_frame(
    tmp_path: Path, reduced: bool, side: int
) -> None:
    for name in ("a", "b"):
        Image.fromarray(data.astronaut()).save(tmp_path / f"{name}.jpg")
    framing = Framing("resize", SQUARE, reduced=reduced)
    source = open_images(tmp_path)
    both = JoinedSource([source, choose(source, np.array([1]))])
    frames = frame(both, framing).frames
    assert [frames[index].shape for index in range(3)] == 3 * [(side, side, 3)]
    assert frames.encoded(0) == both.encoded(0)


def test_a_letterbox_has_the_proportions_of_the_frame_and_holds_the_image() -> None:
    assert boxes((60, 100), Framing("letterbox", SQUARE)) == [Box(-20, 0, 100, 100)]
    assert boxes((100, 60), Framing("letterbox", SQUARE)) == [Box(0, -20, 100, 100)]
    assert boxes((60, 100), Framing("letterbox", ImageShape(3, 32, 64))) == [Box(0, -10, 60, 120)]


def test_beyond_the_image_its_edge_is_repeated() -> None:
    frames = frame(open_images(PHOTO[None]), Framing("letterbox", SQUARE)).frames
    letterbox = frames[0]
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
    framed = frame(open_images([PHOTO, PHOTO[:32, :32]]), Framing("tile", SQUARE))
    assert framed.image.tolist() == [0] * 12 + [1]
    tiles = boxes((60, 100), Framing("tile", SQUARE))
    for index, tile in enumerate(tiles):
        expected = PHOTO[tile.top : tile.top + 32, tile.left : tile.left + 32]
        np.testing.assert_array_equal(framed.frames[index], expected)
    np.testing.assert_array_equal(framed.frames[12], PHOTO[:32, :32])
    assert framed.frames.names[11:] == ["image 0 (tile 12)", "image 1 (tile 1)"]


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
    one, two = (frame(open_images(image[None]), framing).frames for image in (PHOTO, other))
    for index in range(len(one)):
        np.testing.assert_array_equal(one[index], two[index])
    if kind == "resize":
        assert one[0].shape == (30, 70, 3)
        np.testing.assert_array_equal(one[0][10:], PHOTO[20:40, 20:90])


def test_an_unreadable_image_is_one_frame() -> None:
    images = open_images([PHOTO, np.zeros((3, 3, 2), np.uint8), PHOTO[:32, :32]])
    framed = frame(images, Framing("tile", SQUARE))
    assert framed.image.tolist() == [0] * 12 + [1, 2]
    with pytest.raises(ValueError, match="image 1: the shape 3 x 3 x 2 is not that of an image"):
        framed.frames[12]


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
    whole = frame(open_images([image]), framing).frames[0]
    monkeypatch.setattr(framing_module, "_LARGE", 1000)
    small = frame(open_images([image]), framing).frames[0]
    assert whole.shape[1] == 512 and small.shape == (32, 32, 3) and small.dtype == image.dtype
    difference = to_shape(small, SQUARE).int() - to_shape(whole, SQUARE).int()
    assert difference.abs().max() <= 1


def test_images_that_take_much_memory_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing_module, "_KEPT", PHOTO.nbytes)
    framed = frame(open_images([PHOTO] * 3), Framing("tile", SQUARE))
    assert isinstance(framed.frames, FramedSource)
    assert [framed.frames[index].shape for index in (0, len(framed.image) - 1)] == 2 * [(32, 32, 3)]
    assert len(framed.frames._kept) == 1


class Breaking(ImageSource):
    """Images of which one breaks in a way of its own, counting how often each is read."""

    def __init__(self, error: Exception) -> None:
        self.error, self.read = error, [0, 0, 0]
        self.names = ["a.png", "b.png", "c.png"]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        self.read[index] += 1
        if index == 1:
            raise self.error
        return PHOTO


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory\na page"), "not enough memory"),
        (ZeroDivisionError("division by zero"), "division by zero"),
        (Image.DecompressionBombError("too large"), "too large"),
    ],
)
@pytest.mark.parametrize("kind", ["resize", "letterbox", "tile"])
def test_whatever_one_image_raises_is_told_of_that_image(
    kind: FramingKind, error: Exception, told: str
) -> None:
    source = Breaking(error)
    framing = Framing(kind, SQUARE)
    framed = frame(source, framing)
    found = read(framed.frames, range(len(framed.frames)), SQUARE)
    assert sorted(set(framed.image[found.kept])) == [0, 2]
    (why,) = found.errors.values()
    assert why.startswith("b.png: ") and told in why and "\n" not in why
    assert source.read[1] == 1
    assert typical_image(source).colour
    with pytest.raises(ImageError, match=r"1 of \d+ images cannot be read: b.png"):
        prepare_frames(source, framing)
