from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage import data
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from anomem.images.arrays import ArraySource
from anomem.images.errors import ImageError
from anomem.images.local import FileSource
from anomem.images.open import open_images
from anomem.images.source import ImageSource

PHOTO: npt.NDArray[np.uint8] = data.astronaut()[:24, 160:192]


class Items(Dataset[Any]):
    """A map-style Dataset of given items; an exception among them is raised."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def error_of(x: object, kind: type[Exception] = ValueError) -> str:
    def last() -> None:
        source = open_images(x)
        source[len(source) - 1]

    with pytest.raises(kind) as caught:
        last()
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


def test_files(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.fromarray(PHOTO).save(path)
    for x in (tmp_path, str(tmp_path), paths, [str(path) for path in paths], tuple(paths)):
        source = open_images(x)
        assert isinstance(source, FileSource)
        assert source.names == [str(path) for path in paths]
        np.testing.assert_array_equal(source[1], PHOTO)
    with pytest.raises(IndexError):
        source[2]


def test_a_list_of_files_has_an_image_an_item_also_where_a_path_stands_twice(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(PHOTO).save(first)
    Image.fromarray(255 - PHOTO).save(second)
    source = open_images([second, first, second, str(first)])
    assert source.names == [str(path) for path in (second, first, second, first)]
    np.testing.assert_array_equal(source[2], 255 - PHOTO)
    # Where a folder or a pattern is among them, each file comes once.
    assert open_images([second, tmp_path, second]).names == [str(second), str(first)]
    assert open_images([f"{tmp_path}/*.png", first]).names == [str(first), str(second)]


class Pointer:
    """Some library's own kind of path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_paths_come_in_any_container(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.fromarray(PHOTO).save(path)
    names = [str(path) for path in paths]
    column = pandas.Series(names, index=[7, 3])
    for x in (
        *(np.array(names), np.array(paths), np.array(names, dtype=object)),
        *(set(paths), frozenset(names), deque(names), dict.fromkeys(names).keys()),
        *(column, column.astype("category"), pandas.Series(paths), pandas.Index(names)),
        *(pa.array(names), pa.chunked_array([names])),
        *([Pointer(path) for path in paths], [PurePosixPath(path) for path in paths]),
        *(map(str, paths), (path for path in paths)),
    ):
        assert open_images(x).names == names, type(x)
    assert sorted(open_images(tmp_path.glob("*.png")).names) == names
    assert open_images(Pointer(tmp_path)).names == names
    assert open_images({"a": paths[0]}.values()).names == names[:1]


def test_images_come_from_an_iterator() -> None:
    source = open_images(Image.fromarray(each) for each in (PHOTO, 255 - PHOTO))
    np.testing.assert_array_equal(source[1], 255 - PHOTO)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 5, 6, 1), (2, 5, 6, 3)])
def test_array(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    source = open_images(x)
    assert isinstance(source, ArraySource)
    assert source.names == ["image 0", "image 1"] and len(source) == 2
    assert source.array.shape == (2, 5, 6, shape[3] if len(shape) == 4 else 1)
    assert source.array.dtype.isnative
    np.testing.assert_array_equal(source[1], x[1].reshape(source[1].shape))
    if x.dtype.isnative:
        assert np.shares_memory(source.array, x)


def test_pillow_images_of_differing_sizes_and_modes() -> None:
    grey = Image.fromarray(PHOTO).convert("L").resize((5, 4))
    source = open_images([Image.fromarray(PHOTO), grey])
    np.testing.assert_array_equal(source[0], PHOTO)
    np.testing.assert_array_equal(source[1], np.array(grey)[..., None])


def test_arrays_of_differing_sizes() -> None:
    source = open_images([PHOTO, PHOTO[:9, :7, 0]])
    assert [source[index].shape for index in range(2)] == [(24, 32, 3), (9, 7, 1)]


def test_existing_source_passes_through() -> None:
    source = open_images(PHOTO[None])
    assert open_images(source) is source


def test_dataset_items_of_every_kind() -> None:
    tensor = torch.from_numpy(PHOTO.copy()).permute(2, 0, 1)
    deep = tensor.to(torch.uint16) * 257
    source = open_images(
        Items(Image.fromarray(PHOTO), (PHOTO, 1), tensor, deep, [tensor / 255, 0], tensor[0])
    )
    for index in (0, 1, 2):
        np.testing.assert_array_equal(source[index], PHOTO)
    for index in (3, 4):
        assert source[index].dtype == np.uint16
        np.testing.assert_array_equal(source[index], PHOTO.astype(np.uint16) * 257)
    np.testing.assert_array_equal(source[5], PHOTO[..., :1])
    with pytest.raises(IndexError):
        source[6]


def test_torch_data_sets() -> None:
    tensors = TensorDataset(torch.zeros(4, 3, 5, 6, dtype=torch.uint8), torch.arange(4))
    assert open_images(tensors)[3].shape == (5, 6, 3)
    assert len(open_images(Subset(tensors, [0, 2]))) == 2


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (torch.full((3, 4, 4), torch.nan), "the floats range from nan to nan"),
        (torch.full((3, 4, 4), -2.0), "the floats range from -2 to -2, not within [0, 1]; give"),
        (torch.full((3, 4, 4), 255.0), "the floats range from 255 to 255"),
        (
            torch.zeros(3, 4, 4, dtype=torch.int64),
            "the array has dtype int64 and ranges from 0 to 0;",
        ),
        (
            torch.zeros(4, 4, 3, dtype=torch.uint8),
            "the shape 4 x 4 x 3 is not that of an image; give a tensor C x H x W, of 1 or 3",
        ),
        (torch.zeros(3, 0, 4), "the shape 3 x 0 x 4 is not that of an image"),
        (np.zeros((4, 4, 3)), "the array has dtype float64 and ranges from 0 to 0; give (255"),
        (
            np.zeros((4, 4, 2), np.uint8),
            "the shape 4 x 4 x 2 is not that of an image; give an array H x W",
        ),
        (Image.new("F", (4, 4)), "the pixels are 32-bit floats; convert it"),
        ("a.png", "str is not an image; give a Pillow image"),
        ((), "tuple is not an image"),
        (OSError("disk\nlost"), "the Dataset raised OSError (disk); mend that item"),
    ],
)
def test_bad_item_of_a_dataset_is_named(item: Any, expected: str) -> None:
    assert error_of(Items(PHOTO, item), ImageError).startswith(f"image 1: {expected}")


def test_bfloat16_item_is_read() -> None:
    source = open_images(Items(torch.ones(1, 4, 4, dtype=torch.bfloat16)))
    assert (source[0] == 65535).all()


def test_bad_pillow_image_is_named() -> None:
    assert error_of([Image.new("L", (4, 4)), Image.new("F", (4, 4))]).startswith("image 1: the pix")
    closed = Image.new("L", (4, 4))
    closed.close()
    assert error_of([closed]).startswith("image 0: the image is damaged or cut short")
    assert error_of([Image.new("L", (0, 4))]).startswith("image 0: ")


def test_wrong_arrays_are_told_apart() -> None:
    zeros = np.zeros
    assert "dtype float64 and ranges from 0 to 0; give (255" in error_of(
        zeros((2, 4, 4)), TypeError
    )
    assert "dtype float32" in error_of(np.full((2, 4, 4), np.nan, np.float32), TypeError)
    assert "0 to 0; give X.astype('uint8')" in error_of(zeros((2, 4, 4), int), TypeError)
    assert "images of one size" in error_of(np.full((2, 2), None), TypeError)
    one = error_of(PHOTO)
    assert "is one image of shape 24 x 32 x 3; give a batch, X[None], or X[..., None]" in one
    assert "24 x 32; give a batch, X[None]." in error_of(PHOTO[..., 0])
    assert "of shape 0 x 4 x 4 x 3 is empty" in error_of(zeros((0, 4, 4, 3), np.uint8))
    assert "has its channels first" in error_of(zeros((2, 3, 5, 5), np.uint8))
    assert "leave out the transparency, X[..., :3]" in error_of(zeros((2, 5, 5, 4), np.uint8))
    assert "has the shape 5; give N x H x W x 3" in error_of(zeros(5, np.uint8))
    assert "has the shape 2 x 5 x 5 x 2" in error_of(zeros((2, 5, 5, 2), np.uint8))


def test_wrong_lists_and_types_are_told_apart() -> None:
    image = Image.fromarray(PHOTO)
    assert error_of([]) == "The list is empty; give at least one image."
    assert "Item 1 of the list is a path but item 0 is a Pillow" in error_of(
        [image, "a"], TypeError
    )
    assert "Item 1 of the list is of type int" in error_of(["a.png", 3], TypeError)
    assert "give a list of images, [image]" in error_of(image, TypeError)
    assert "give TensorDataset(X)" in error_of(torch.zeros(2, 3, 4, 4), TypeError)
    assert "NoneType holds no images" in error_of(None, TypeError)
    assert "dict holds no images" in error_of({"a": image}, TypeError)
    assert "Item 1 of the list is of type float" in error_of(
        pandas.Series(["a.png", float("nan")]), TypeError
    )
    assert "Item 1 of the list is of type NoneType" in error_of(
        np.array([PHOTO, None], dtype=object), TypeError
    )
    assert "The list is empty" in error_of(Path("none").glob("*"))
    assert "The list is empty" in error_of(pandas.DataFrame({"path": []}))
    assert "The Items is empty" in error_of(Items())


def test_streaming_dataset_is_refused() -> None:
    class Stream(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            return iter([])

    class Endless(Dataset[Tensor]):
        def __getitem__(self, index: int) -> Tensor:
            return torch.zeros(1, 4, 4)

    assert "Stream has no length or no items by number" in error_of(Stream(), TypeError)
    assert "Endless has no length" in error_of(Endless(), TypeError)


@given(
    st.sampled_from(["u1", "u2", ">u2", "i1", "i4", "f2", "f4", "f8", "?", "c8", "U3", "M8[s]"]),
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
)
@settings(deadline=None, max_examples=40)
def test_any_array_opens_or_is_refused_in_one_line(dtype: str, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, dtype)
    try:
        source: ImageSource = open_images(x)
    except (ValueError, TypeError) as error:
        refusal = str(error)
        assert "\n" not in refusal
    else:
        image = source[len(source) - 1]
        assert image.ndim == 3 and image.shape[2] in (1, 3) and image.size
