"""Files, arrays, Pillow images and data sets behind one face: images by number."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Set, ValuesView
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from anomem.images.arrays import dtype_problem, shape_problem, to_array
from anomem.images.decode import decode, decode_bytes
from anomem.images.listing import TABLE_SUFFIXES, list_images, local_path, protocol_of
from anomem.images.opening import ImageError, open_file
from anomem.runtime.untrusted import one_line

_SOURCES = "give paths, a uint8 or uint16 array N x H x W x 3, Pillow images or a torch Dataset"


class ImageSource(ABC):
    """Images by number, each read when it is asked for.

    Attributes:
        names: N names, the path of each image or "image 3".
    """

    names: Sequence[str]

    def __len__(self) -> int:
        """The number of images N."""
        return len(self.names)

    @abstractmethod
    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Read one image; safe to call from several threads.

        Returns:
            H x W x 1 or H x W x 3, uint8 or uint16.

        Raises:
            ImageError: the image cannot be read.
            IndexError: there is no such image.
        """

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """One image, if its file allows at a reduced size of at least so many pixels a side."""
        return self[index]

    def encoded(self, index: int) -> bytes | None:
        """One image as its file holds it; None where there is no file."""
        return None


class StoredSource(ImageSource):
    """Images in files, here or on object storage, of which another process can read a part."""

    @abstractmethod
    def part(self, start: int, stop: int) -> ImageSource:
        """The images from start up to stop, under the same names; pickles as what they need."""

    @abstractmethod
    def versions(self) -> list[str]:
        """What changes with the file of each image, as size and time; "" where it is unknown."""

    def runs(self, size: int) -> list[range]:
        """All indices in order, in ranges of at most ``size`` that are best read together."""
        count = len(self)
        return [range(start, min(start + size, count)) for start in range(0, count, size)]


class FileSource(StoredSource):
    """Image files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Keep the paths; the files are opened when asked for."""
        self._paths = list(paths)
        self.names = [str(path) for path in paths]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Decode one file."""
        return decode(self._paths[index])

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """Decode one file, a JPEG at a reduced size."""
        return decode(self._paths[index], least)

    def encoded(self, index: int) -> bytes:
        """The content of one file."""
        with open_file(self._paths[index]) as file:
            return file.read()

    def part(self, start: int, stop: int) -> FileSource:
        """Some of the files."""
        return FileSource(self._paths[start:stop])

    def versions(self) -> list[str]:
        """Size and time of each file."""
        return [_version(path) for path in self._paths]


class EncodedSource(ImageSource):
    """Encoded images in memory, such as the cells of a table."""

    def __init__(self, contents: Sequence[bytes | None], names: Sequence[str]) -> None:
        """Keep what N files would hold; None is an image that is missing."""
        self._contents = list(contents)
        self.names = list(names)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Decode one image."""
        return decode_bytes(self._contents[index] or b"", self.names[index])

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """Decode one image, a JPEG at a reduced size."""
        return decode_bytes(self._contents[index] or b"", self.names[index], least)

    def encoded(self, index: int) -> bytes | None:
        """What the file of one image would hold."""
        return self._contents[index]


class ArraySource(ImageSource):
    """Images of one size in one array.

    Attributes:
        array: N x H x W x C, C in {1, 3}, uint8 or uint16, not copied from what was given.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        """Check the array, N x H x W x 3, N x H x W x 1 or N x H x W."""
        if problem := dtype_problem(array.dtype):
            raise TypeError(f"The array {problem[0]}; {problem[1]}.")
        if problem := shape_problem(array.shape):
            raise ValueError(f"The array {problem[0]}; {problem[1]}.")
        array = array[..., None] if array.ndim == 3 else array
        self.array = array.astype(array.dtype.newbyteorder("="), copy=False)
        self.names = _numbered(len(array))

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """One image, a view into the array."""
        image: npt.NDArray[Any] = self.array[index]
        return image


class ListSource(ImageSource):
    """A list of Pillow images, or of arrays of differing sizes."""

    def __init__(self, images: Sequence[Image.Image | npt.NDArray[Any]]) -> None:
        """Keep the images; they are checked when asked for."""
        self._images = images
        self._lock = Lock()
        self.names = _numbered(len(images))

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Convert one image."""
        with self._lock:  # Pillow may still have to load it from its file
            return to_array(self._images[index], self.names[index])


class DatasetSource(ImageSource):
    """A map-style torch Dataset whose items are an image or a tuple that begins with one."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        """Keep the data set; its items are checked when asked for."""
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise TypeError(
                f"{type(dataset).__name__} has no length or no items by number; "
                "give a map-style Dataset with __len__ and __getitem__."
            )
        length = len(dataset)
        if length == 0:
            raise ValueError(f"The {type(dataset).__name__} is empty; give at least one image.")
        self._dataset = dataset
        self._lock = Lock()
        self.names = _numbered(length)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Get one item and convert its image."""
        name = self.names[index]
        try:
            with self._lock:  # a Dataset promises no thread safety
                item = self._dataset[range(len(self))[index]]
        except Exception as error:
            reason = f"the Dataset raised {type(error).__name__} ({one_line(error)})"
            raise ImageError(name, reason, "mend that item or leave it out") from error
        if isinstance(item, tuple | list) and item:
            item = item[0]
        return to_array(item, name)


def open_images(x: object) -> ImageSource:
    """Open anything that holds images.

    Args:
        x: a path, folder, pattern or URL, or several of those (see ``list_images`` and
            ``list_urls``), of images or of Parquet files (see ``ParquetSource``); an array
            N x H x W x 3, N x H x W x 1 or N x H x W, uint8 or uint16; several Pillow images or
            uint8 or uint16 arrays H x W x 3, H x W x 1 or H x W; a map-style torch Dataset
            whose items are an image, or a tuple beginning with one (a Pillow image, an array as
            above or a tensor C x H x W, uint8, uint16 or float in [0, 1]); or an ImageSource,
            which is returned as it is. A path is text or any ``os.PathLike``; several are a
            sequence, an array or column of text or objects, an iterator such as ``Path.glob``,
            or a set, whose items are sorted.

    Returns:
        The images as a source. Where all paths are files, and not folders or patterns, it has one
        image an item, in their order and also where a path stands twice; else each file once.

    Raises:
        ValueError: x is empty, has a wrong shape, or a path does not exist.
        TypeError: x, or its pixels, are of a type that is not supported.
    """
    if isinstance(x, ImageSource):
        return x
    if isinstance(x, str | os.PathLike):
        return _open_list([x])
    if isinstance(x, Dataset):
        return DatasetSource(x)
    if isinstance(x, Image.Image):
        raise TypeError("This is one Pillow image; give a list of images, [image].")
    if isinstance(x, torch.Tensor):
        raise TypeError(
            "Tensors are not opened as images; "
            "give TensorDataset(X), or X.permute(0, 2, 3, 1).numpy() as uint8."
        )
    if hasattr(x, "columns"):  # a table of pandas, Polars or Arrow
        raise TypeError(f"A {type(x).__name__} is no list of images; give its column of paths.")
    if hasattr(x, "to_numpy"):  # a column of pandas, Polars or Arrow
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        return _open_list(x.tolist()) if _is_of_paths(x) else ArraySource(x)
    if isinstance(x, Set):
        return _open_list(sorted(x, key=str))
    if isinstance(x, Sequence | Iterator | ValuesView) and not isinstance(x, bytes | bytearray):
        return _open_list(x if isinstance(x, list | tuple) else list(x))
    raise TypeError(f"{type(x).__name__} holds no images that can be read; {_SOURCES}.")


def _is_of_paths(array: npt.NDArray[Any]) -> bool:
    """Whether a list of what the array holds is meant: text, or objects that begin with a path."""
    if array.ndim != 1:
        return False
    begins_so = len(array) > 0 and isinstance(array[0], str | os.PathLike)
    return array.dtype.kind in "UT" or (array.dtype.kind == "O" and begins_so)


def _open_list(x: Sequence[Any]) -> ImageSource:
    if not x:
        raise ValueError("The list is empty; give at least one image.")
    kinds = [_kind(item) for item in x]
    for index, kind in enumerate(kinds):
        if kind is None:
            name = type(x[index]).__name__
            raise TypeError(f"Item {index} of the list is of type {name}; {_SOURCES}.")
        if kind != kinds[0]:
            raise TypeError(
                f"Item {index} of the list is {kind} but item 0 is {kinds[0]}; give one kind."
            )
    if not isinstance(x[0], str | os.PathLike):
        return ListSource(x)
    paths = [os.fsdecode(path) for path in x]
    return _open_urls(paths) if kinds[0] != "a path" else _open_files(paths)


def _open_files(paths: Sequence[str]) -> StoredSource:
    files = list_images(paths, tables=True)
    if tables := _open_tables(files):
        return tables
    # Each file comes once where folders and patterns overlap; files given one by one are items.
    given = [Path(local_path(path)).expanduser() for path in paths]
    return FileSource(given if all(map(_is_one_file, given)) else files)


def _is_one_file(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)


def _open_urls(given: Sequence[str]) -> StoredSource:
    from anomem.images.object_store import UrlSource, list_urls

    urls = list_urls(given)
    return _open_tables(urls) or UrlSource(urls)


def _open_tables(files: Sequence[str | Path]) -> StoredSource | None:
    """Parquet files, or None where the files are images."""
    names = [str(file) for file in files]
    images = [name for name in names if not name.lower().endswith(TABLE_SUFFIXES)]
    if len(images) == len(names):
        return None
    if images:
        raise ValueError(f"{images[0]} is not a Parquet file but others are; give one kind.")
    from anomem.images.parquet import ParquetSource

    return ParquetSource.of(names)


def _kind(item: object) -> str | None:
    if isinstance(item, str | os.PathLike):
        protocol = protocol_of(os.fsdecode(item))
        return "a path" if protocol is None else f"a URL of {protocol}"
    if isinstance(item, Image.Image):
        return "a Pillow image"
    return "an array" if isinstance(item, np.ndarray) else None


def _numbered(count: int) -> list[str]:
    return [f"image {index}" for index in range(count)]


def _version(path: Path) -> str:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"
