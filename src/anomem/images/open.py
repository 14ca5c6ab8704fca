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
from anomem.images.listing import TABLE_SUFFIXES, VIDEO_SUFFIXES, list_images, protocol_of
from anomem.images.local import FileSource
from anomem.images.source import ImageSource
from anomem.images.tables import column_of, is_hugging_face, open_hugging_face

_SOURCES = "give paths, a uint8 or uint16 array N x H x W x 3, Pillow images or a torch Dataset"


def open_images(x: object, *, fps: float | None = None) -> ImageSource:
    """Open anything that holds images.

    Args:
        x: A path, folder, pattern or URL, or several of those (see ``list_images`` and
            ``list_urls``), of images, of Parquet files (see ``ParquetSource``) or of videos of this
            machine (see ``VideoSource``); an array N x H x W x 3, N x H x W x 1 or N x H x W, uint8
            or uint16; several Pillow images or uint8 or uint16 arrays H x W x 3, H x W x 1 or
            H x W; a map-style torch Dataset whose items are an image, or a tuple beginning with one
            (a Pillow image, an array as above or a tensor C x H x W, uint8, uint16 or float in
            [0, 1]); a data frame or a Dataset of Hugging Face, for its column of images or paths
            (see :mod:`anomem.images.tables`); or an ImageSource, which is returned as it is. A path
            is text or any ``os.PathLike``; several are a sequence, an array or column of text or
            objects, an iterator such as ``Path.glob``, or a set, whose items are sorted.
        fps: Frames a second that are taken of videos, evenly; None takes all.

    Returns:
        The images as a source. Where all paths are files, and not folders or patterns, it has one
        image an item, in their order and also where a path stands twice; else each file once.

    Raises:
        ValueError: x is empty, has a wrong shape, or a path does not exist.
        TypeError: x, or its pixels, are of a type that is not supported.
    """
    x = _column_of_table(x)
    if isinstance(x, ImageSource):
        return x
    if isinstance(x, str | os.PathLike):
        return _open_list([x], fps)
    if is_dataset(x):
        return DatasetSource(x)
    if hasattr(x, "to_numpy"):  # a column of pandas, Polars or Arrow
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        return _open_list(x.tolist(), fps) if _is_list(x) else ArraySource(x)
    if isinstance(x, Set):
        return _open_list(sorted(x, key=str), fps)
    if isinstance(x, Sequence | Iterator | ValuesView) and not isinstance(x, bytes | bytearray):
        return _open_list(x if isinstance(x, list | tuple) else list(x), fps)
    raise TypeError(_why_not(x))


def only_image(image: object) -> ImageSource:
    """Open what must hold one image.

    Raises:
        ValueError: It holds several. That it cannot be read is told when its pixels are asked for.
    """
    opens = isinstance(image, str | os.PathLike | ImageSource)
    source = open_images(image if opens else [image])
    if len(source) != 1:
        raise ValueError(f"{image} holds {len(source)} images; explain one at a time.")
    return source


def _column_of_table(x: Any) -> object:
    """The images of a table, or its column of paths; what is none as it is."""
    if is_hugging_face(x):
        return open_hugging_face(x)
    if hasattr(x, "columns"):  # of pandas, Polars or Arrow
        return x[column_of(x, getattr(x, "column_names", x.columns))]
    return x


def _why_not(x: object) -> str:
    """Why something is not opened, and what to give in its place."""
    kind = type(x).__name__
    if isinstance(x, Image.Image):
        return "This is one Pillow image; give a list of images, [image]."
    if is_tensor(x):
        mend = "give TensorDataset(X), or X.permute(0, 2, 3, 1).numpy() as uint8"
        return f"Tensors are not opened as images; {mend}."
    return f"{kind} holds no images that can be read; {_SOURCES}."


def _is_list(array: npt.NDArray[Any]) -> bool:
    """Whether a list of what the array holds is meant: text or objects, or nothing at all."""
    return array.ndim == 1 and (array.dtype.kind in "UTO" or not len(array))


def _open_list(x: Sequence[Any], fps: float | None) -> ImageSource:
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
    return _open_stored([os.fsdecode(path) for path in x], fps, remote=kinds[0] != "a path")


def _open_stored(paths: Sequence[str], fps: float | None, *, remote: bool) -> ImageSource:
    files: Sequence[str | Path]
    if remote:
        from anomem.images.object_store import UrlSource, list_urls

        files = list_urls(paths)
    else:
        files = list_images(paths, tables=True)
    names = [str(file) for file in files]
    kind = _same_kind(names)
    if kind == "a Parquet file":
        from anomem.images.parquet import ParquetSource

        return ParquetSource.of(list(dict.fromkeys(names)))
    if kind == "a video":
        from anomem.images.video import VideoSource

        if remote:
            raise ValueError(f"{names[0]} is a video on object storage; copy it to this machine.")
        return VideoSource([Path(name) for name in dict.fromkeys(names)], fps)
    return UrlSource(names) if remote else FileSource([Path(name) for name in names])


def _same_kind(names: Sequence[str]) -> str:
    """What all of the files are, by their suffixes."""
    suffixes = {"a Parquet file": TABLE_SUFFIXES, "a video": VIDEO_SUFFIXES}
    kinds = [
        next((kind for kind, ends in suffixes.items() if name.lower().endswith(ends)), "an image")
        for name in names
    ]
    other = next((index for index, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise ValueError(
            f"{names[other]} is {kinds[other]} but {names[0]} is {kinds[0]}; give one kind."
        )
    return kinds[0]


def _kind(item: object) -> str | None:
    if isinstance(item, str | os.PathLike):
        protocol = protocol_of(os.fsdecode(item))
        return "a path" if protocol is None else f"a URL of {protocol}"
    if isinstance(item, Image.Image):
        return "a Pillow image"
    return "an array" if isinstance(item, np.ndarray) else None
