from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage import data

from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.open import open_images
from anomem.images.prepare import prepare, prepare_frames, read
from anomem.images.resize import ImageShape, to_shape

PHOTO: npt.NDArray[np.uint8] = data.astronaut()
CROPS = np.stack([PHOTO[row : row + 32, row : row + 40] for row in range(0, 300, 3)])
SHAPE = ImageShape(3, 32, 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, of which the second and the fourth cannot be read."""
    for index in range(5):
        Image.fromarray(CROPS[index]).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "3.png").write_text("not an image")
    return tmp_path


def test_bad_images_are_told_apart(folder: Path) -> None:
    batch = read(open_images(folder), [4, 3, 0, 1], SHAPE)
    assert batch.kept == [4, 0]
    expected = torch.stack([to_shape(CROPS[index], SHAPE) for index in (4, 0)])
    assert torch.equal(batch.images, expected)
    assert sorted(batch.errors) == [1, 3]
    assert batch.errors[1].endswith(
        "1.png: the file is empty (0 bytes); remove it or export it again."
    )


def test_nothing_readable_gives_an_empty_batch(folder: Path) -> None:
    batch = read(open_images(folder), [1, 3], SHAPE)
    assert batch.images.shape == (0, 3, 32, 40) and batch.kept == [] and len(batch.errors) == 2
    assert read(open_images(folder), [], SHAPE).images.shape == (0, 3, 32, 40)
    assert read(open_images(CROPS), [], SHAPE).images.shape == (0, 3, 32, 40)


def test_threads_do_not_change_the_order() -> None:
    images = open_images([Image.fromarray(crop) for crop in CROPS])
    found = read(images, range(100), SHAPE).images
    assert torch.equal(found, read(open_images(CROPS), range(100), SHAPE).images)


def test_one_deep_image_makes_all_deep_exactly() -> None:
    deep = CROPS[1].astype(np.uint16) * 257 + 1
    batch = read(open_images([CROPS[0], deep]), [0, 1], SHAPE)
    assert batch.images.dtype == torch.uint16
    np.testing.assert_array_equal(
        batch.images.permute(0, 2, 3, 1).numpy(), [CROPS[0].astype(np.uint16) * 257, deep]
    )


def test_range_of_an_array_is_not_copied() -> None:
    crops = CROPS.copy()
    images = open_images(crops)
    batch = read(images, range(10, 20), SHAPE).images
    assert np.shares_memory(batch.numpy(), crops)
    assert torch.equal(batch, read(images, list(range(10, 20)), SHAPE).images)
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), crops[10:20])


@pytest.mark.parametrize("indices", [[5, 3, 9], [7, 7], [99, 98], [0, 2, 4]])
def test_any_indices_of_an_array(indices: list[int]) -> None:
    batch = read(open_images(CROPS), indices, SHAPE)
    assert batch.kept == indices and batch.errors == {}
    np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1).numpy(), CROPS[indices])


@pytest.mark.parametrize("shape", [ImageShape(1, 32, 40), ImageShape(3, 16, 16)])
def test_array_of_another_shape_is_converted_as_its_images_are(shape: ImageShape) -> None:
    batch = read(open_images(CROPS), [3, 8], shape)
    expected = torch.stack([to_shape(CROPS[index], shape) for index in (3, 8)])
    assert torch.equal(batch.images, expected)


def test_read_only_array_is_read() -> None:
    crops = CROPS.copy()
    crops.flags.writeable = False
    batch = read(open_images(crops), range(3), SHAPE)
    np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1).numpy(), crops[:3])


def test_index_beyond_the_array_is_an_error() -> None:
    with pytest.raises(IndexError):
        read(open_images(CROPS), range(99, 101), SHAPE)


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


def test_images_are_prepared_in_memory_or_in_a_file(files: list[tuple[int, ...]]) -> None:
    images, size = open_images(CROPS), CROPS.nbytes
    indices = torch.tensor([4, 90, 4])
    memory = prepare(images, SHAPE, memory_limit=size)
    assert files == []
    file = prepare(images, SHAPE, memory_limit=size - 1)
    assert files == [(100, 3, 32, 40)]
    assert torch.equal(memory.take(indices), file.take(indices))
    for prepared in (memory, file):
        assert prepared.images.shape == (100, 3, 32, 40) and prepared.images.is_contiguous()
        np.testing.assert_array_equal(prepared.images.permute(0, 2, 3, 1).numpy(), CROPS)


def test_no_file_of_the_images_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    prepared = prepare(open_images(CROPS), SHAPE, memory_limit=0)
    assert len(prepared) == 100 and not list(tmp_path.iterdir())


def test_more_images_than_the_disk_holds_are_refused() -> None:
    shape = ImageShape(3, 2**24, 2**24)
    with pytest.raises(ValueError, match=r"100 images take .* GiB free; name a larger folder in"):
        prepare(open_images(CROPS), shape, memory_limit=0)


def test_frames_know_their_image() -> None:
    tiles = prepare_frames(open_images(CROPS[:3]), Framing("tile", ImageShape(3, 32, 32)))
    assert tiles.count == 3 and tiles.image.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(tiles.frames.images[3].permute(1, 2, 0), CROPS[1][:, 8:])
    whole = prepare_frames(open_images(CROPS[:3]), Framing("resize", SHAPE))
    assert whole.image.tolist() == [0, 1, 2] and len(whole.frames) == whole.count == 3


def test_prepared_images_do_not_change_with_the_array() -> None:
    crops = CROPS.copy()
    memory = prepare(open_images(crops), SHAPE)
    crops[:] = 0
    assert torch.equal(memory.take(torch.tensor([3]))[0], to_shape(CROPS[3], SHAPE))


def test_deep_image_in_a_later_chunk_deepens_all(files: list[tuple[int, ...]]) -> None:
    images = [CROPS[0, :1, :1]] * 256 + [np.full((1, 1, 3), 40000, np.uint16)] + [CROPS[1, :1, :1]]
    source, shape = open_images(images), ImageShape(3, 1, 1)
    memory = prepare(source, shape)
    assert memory.images.dtype == torch.uint16
    expected = [CROPS[0, 0, 0] * 257.0, [40000] * 3, CROPS[1, 0, 0] * 257.0]
    np.testing.assert_array_equal(memory.images[[0, 256, 257], :, 0, 0].numpy(), expected)
    file = prepare(source, shape, memory_limit=258 * 3)
    assert files == [(258, 3, 1, 1)] and torch.equal(file.images, memory.images)


def test_deep_chunk_before_plain_ones() -> None:
    images = [np.full((1, 1, 1), 40000, np.uint16)] + [np.ones((1, 1, 1), np.uint8)] * 256
    memory = prepare(open_images(images), ImageShape(1, 1, 1))
    assert memory.take(torch.tensor([0, 256])).flatten().tolist() == [40000, 257]


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    images = open_images(np.zeros((600, 2, 2), np.uint8))
    prepare(images, ImageShape(1, 2, 2), progress=lambda done, total: told.append((done, total)))
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
