"""Anything that holds images to images by number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set, ValuesView
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomem.images.arrays import ArraySource, DatasetSource, ListSource, is_dataset, is_tensor
from anomem.images.listing import TABLE_SUFFIXES, list_images, protocol_of
from anomem.images.local import FileSource
from anomem.images.source import ImageSource, StoredSource

_SOURCES = "give paths, a uint8 or uint16 array N x H x W x 3, Pillow images or a torch Dataset"


def open_images(x: object) -> ImageSource:
    """Open anything that holds images.

    Args:
        x: A path, folder, pattern or URL, or several of those (see ``list_images`` and
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
    if is_dataset(x):
        return DatasetSource(x)
    if hasattr(x, "to_numpy") and not hasattr(x, "columns"):  # a column of pandas, Polars or Arrow
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        return _open_list(x.tolist()) if _is_of_paths(x) else ArraySource(x)
    if isinstance(x, Set):
        return _open_list(sorted(x, key=str))
    if isinstance(x, Sequence | Iterator | ValuesView) and not isinstance(x, bytes | bytearray):
        return _open_list(x if isinstance(x, list | tuple) else list(x))
    raise TypeError(_why_not(x))


def only_image(image: object) -> ImageSource:
    """Open what must hold one image.

    Raises:
        ValueError: It holds several. That it cannot be read is told when its pixels are asked for.
    """
    path = isinstance(image, str | os.PathLike)
    source = open_images(image if path else [image])
    if len(source) != 1:
        raise ValueError(f"{image} holds {len(source)} images; explain one at a time.")
    return source


def _why_not(x: object) -> str:
    """Why something is not opened, and what to give in its place."""
    kind = type(x).__name__
    if isinstance(x, Image.Image):
        return "This is one Pillow image; give a list of images, [image]."
    if is_tensor(x):
        mend = "give TensorDataset(X), or X.permute(0, 2, 3, 1).numpy() as uint8"
        return f"Tensors are not opened as images; {mend}."
    if hasattr(x, "columns"):  # a table of pandas, Polars or Arrow
        return f"A {kind} is no list of images; give its column of paths."
    return f"{kind} holds no images that can be read; {_SOURCES}."


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
    return _open_stored([os.fsdecode(path) for path in x], remote=kinds[0] != "a path")


def _open_stored(paths: Sequence[str], *, remote: bool) -> StoredSource:
    if not remote:
        files = list_images(paths, tables=True)
        return _open_tables(files) or FileSource(files)
    from anomem.images.object_store import UrlSource, list_urls

    urls = list_urls(paths)
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

    return ParquetSource.of(list(dict.fromkeys(names)))


def _kind(item: object) -> str | None:
    if isinstance(item, str | os.PathLike):
        protocol = protocol_of(os.fsdecode(item))
        return "a path" if protocol is None else f"a URL of {protocol}"
    if isinstance(item, Image.Image):
        return "a Pillow image"
    return "an array" if isinstance(item, np.ndarray) else None
