from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from photo_crops import CROPS, PHOTO, SHAPE
from PIL import Image

from anomem.config import FramingKind
from anomem.images.errors import ImageError
from anomem.images.frame_shape import typical_image
from anomem.images.framing import Framing, frames_of
from anomem.images.open import open_images
from anomem.images.prepare import prepare, prepare_frames
from anomem.images.read import read
from anomem.images.resize import ImageShape, to_shape
from anomem.images.source import ImageSource


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what is kept in files."""
    kept: list[tuple[int, ...]] = []
    memmap = np.memmap

    def spied(*words: Any, **choices: Any) -> Any:
        kept.append(choices["shape"])
        return memmap(*words, **choices)

    monkeypatch.setattr(np, "memmap", spied)
    return kept


def test_images_are_prepared_in_memory_or_in_a_file(
    files: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, indices = open_images(CROPS), torch.tensor([4, 90, 4])
    monkeypatch.setattr("anomem.images.prepare._IN_MEMORY", CROPS.nbytes)
    memory = prepare(images, SHAPE)
    assert files == []
    monkeypatch.setattr("anomem.images.prepare._IN_MEMORY", CROPS.nbytes - 1)
    file = prepare(images, SHAPE)
    assert files == [(100, 3, 32, 40)]
    assert torch.equal(memory.take(indices), file.take(indices))
    for prepared in (memory, file):
        assert prepared.images.shape == (100, 3, 32, 40) and prepared.images.is_contiguous()
        np.testing.assert_array_equal(prepared.images.permute(0, 2, 3, 1).numpy(), CROPS)


def test_no_file_of_the_images_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("anomem.images.prepare._IN_MEMORY", 0)
    prepared = prepare(open_images(CROPS), SHAPE)
    assert len(prepared) == 100 and not list(tmp_path.iterdir())


def test_more_images_than_the_disk_holds_are_refused() -> None:
    shape = ImageShape(3, 2**24, 2**24)
    with pytest.raises(ValueError, match=r"100 frames take .* GiB free; name a larger folder in"):
        prepare(open_images(CROPS), shape)


def test_frames_know_their_image() -> None:
    tiles = prepare_frames(open_images(CROPS[:3]), Framing("tile", ImageShape(3, 32, 32)))
    assert tiles.count == 3 and tiles.image.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(tiles.frames.images[3].permute(1, 2, 0), CROPS[1][:, 8:])
    whole = prepare_frames(open_images(CROPS[:3]), Framing("resize", SHAPE))
    assert whole.image.tolist() == [0, 1, 2] and len(whole.frames) == whole.count == 3


def test_large_photographs_first_take_no_room_for_those_that_are_small() -> None:
    """Twice the room of all frames at most, though the first images have many."""
    large = np.zeros((320, 320, 3), np.uint8)
    images = [large] * 4 + [large[:32, :32]] * 400
    tiles = prepare_frames(open_images(images), Framing("tile", ImageShape(3, 32, 32)))
    assert len(tiles.image.unique()) == 404
    assert tiles.frames.images.untyped_storage().nbytes() <= 2 * tiles.frames.images.nbytes


def test_prepared_images_do_not_change_with_the_array() -> None:
    crops = CROPS.copy()
    memory = prepare(open_images(crops), SHAPE)
    crops[:] = 0
    np.testing.assert_array_equal(memory.take(torch.tensor([3]))[0], to_shape(CROPS[3], SHAPE))


def test_deep_image_in_a_later_chunk_deepens_all(
    files: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [CROPS[0, :1, :1]] * 256 + [np.full((1, 1, 3), 40000, np.uint16)] + [CROPS[1, :1, :1]]
    source, shape = open_images(images), ImageShape(3, 1, 1)
    memory = prepare(source, shape)
    assert memory.images.dtype == torch.uint16
    expected = [CROPS[0, 0, 0] * 257.0, [40000] * 3, CROPS[1, 0, 0] * 257.0]
    np.testing.assert_array_equal(memory.images[[0, 256, 257], :, 0, 0].numpy(), expected)
    monkeypatch.setattr("anomem.images.prepare._IN_MEMORY", 258 * 3)
    file = prepare(source, shape)
    assert files == [(258, 3, 1, 1)] and torch.equal(file.images, memory.images)


def test_deep_chunk_before_plain_ones() -> None:
    images = [np.full((1, 1, 1), 40000, np.uint16)] + [np.ones((1, 1, 1), np.uint8)] * 256
    memory = prepare(open_images(images), ImageShape(1, 1, 1))
    assert memory.take(torch.tensor([0, 256])).flatten().tolist() == [40000, 257]


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    images = open_images(np.zeros((600, 2, 2), np.uint8))
    framing = Framing("resize", ImageShape(1, 2, 2))
    prepare_frames(images, framing, progress=lambda done, total: told.append((done, total)))
    assert told == [(256, 600), (512, 600), (600, 600)]


def test_unreadable_images_are_counted_and_named(folder: Path) -> None:
    with pytest.raises(ImageError) as caught:
        prepare(open_images(folder), SHAPE)
    assert str(caught.value) == (
        f"2 of 5 images cannot be read: {folder}/1.png: the file is empty (0 bytes), "
        f"{folder}/3.png: not an image of a known format (PNG, JPEG, TIFF, WEBP, BMP, GIF, PPM, "
        "JPEG2000, AVIF, DIB); remove them or export them again."
    )


def test_three_unreadable_images_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    for index in range(7):
        (tmp_path / f"{index}.png").touch()
    with pytest.raises(ImageError, match=r"7 of 7 .*2\.png: the file is empty .* and 4 more; "):
        prepare(open_images(tmp_path), SHAPE)


class Breaking(ImageSource):
    """Images of which one breaks in a way of its own, counting how often each is read."""

    def __init__(self, error: Exception) -> None:
        self.error, self.read = error, [0, 0, 0]
        self.names = ["a.png", "b.png", "c.png"]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        self.read[index] += 1
        if index == 1:
            raise self.error
        return CROPS[0]


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
    framing = Framing(kind, ImageShape(3, 16, 16))
    found = read(source, range(3), framing)
    assert sorted(set(found.image.tolist())) == [0, 2]
    why = str(found.errors[1])
    assert why.startswith("b.png: ") and told in why and "\n" not in why
    assert source.read == [1, 1, 1]
    assert typical_image(source).colour
    with pytest.raises(ImageError, match=r"1 of \d+ images cannot be read: b.png"):
        prepare_frames(source, framing)


@pytest.mark.parametrize("limit", [0, 2**30])
def test_tiles_of_images_of_any_size_are_prepared_and_each_is_read_once(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    images: list[npt.NDArray[Any]] = [PHOTO[: 20 + 9 * n, : 200 - 9 * n] for n in range(9)]
    images[5] = images[5].astype(np.uint16) * 257 + 1
    read_images: list[int] = []

    class Counted(ImageSource):
        names = tuple("012345678")

        def __getitem__(self, index: int) -> npt.NDArray[Any]:
            read_images.append(index)
            return images[index]

    framing = Framing("tile", ImageShape(3, 32, 32))
    monkeypatch.setattr("anomem.images.prepare._IN_MEMORY", limit)
    prepared = prepare_frames(Counted(), framing)
    assert sorted(read_images) == list(range(9)) and prepared.count == 9
    expected = []
    for index, image in enumerate(images):
        tiles = list(frames_of(open_images([image]), 0, framing))
        assert int((prepared.image == index).sum()) == len(tiles)
        scale = 1 if image.dtype == np.uint16 else 257
        expected += [tile.astype(np.uint16) * scale for tile in tiles]
    found = prepared.frames.images.permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, np.stack(expected))
