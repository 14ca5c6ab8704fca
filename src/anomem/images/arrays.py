"""Arrays, lists and Datasets of images in memory, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomem.images.decode import pil_to_array
from anomem.images.errors import ImageError, times
from anomem.images.source import ImageSource
from anomem.runtime.threads import loaded_torch
from anomem.runtime.untrusted import one_line


def to_array(image: object, name: str) -> npt.NDArray[Any]:
    """Convert what a list or a Dataset holds to H x W x C, uint8 or uint16."""
    if isinstance(image, Image.Image):
        return pil_to_array(image, name)
    if is_tensor(image):
        return to_array(_tensor_to_array(image, name), name)
    if not isinstance(image, np.ndarray):
        reason = f"{type(image).__name__} is not an image"
        raise ImageError(name, reason, "give a Pillow image, an array or a tensor")
    if problem := _pixel_problem(image):
        raise ImageError(name, f"the array {problem[0]}", problem[1])
    mend = "give an array H x W or H x W x C, of 1 or 3 channels"
    _refuse_shape(image.shape, image.shape[2:], name, mend)
    image = image[..., None] if image.ndim == 2 else image
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def is_tensor(x: object) -> bool:
    """Tell whether something is a tensor of PyTorch."""
    torch = loaded_torch()
    return torch is not None and isinstance(x, torch.Tensor)


def is_dataset(x: object) -> bool:
    """Tell whether something is a Dataset of PyTorch."""
    torch = loaded_torch()
    return torch is not None and isinstance(x, torch.utils.data.Dataset)


def _tensor_to_array(image: Any, name: str) -> npt.NDArray[Any]:
    """Convert C x H x W to H x W x C; floats in [0, 1] become uint16."""
    mend = "give a tensor C x H x W, of 1 or 3 channels"
    _refuse_shape(image.shape, image.shape[:-2], name, mend)
    image = image.detach().cpu()
    if image.is_floating_point():
        image = image.float()
        low, high = image.amin().item(), image.amax().item()  # NaN if there is any
        # A resize may overshoot by a rounding error.
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            reason = f"the floats range from {low:.3g} to {high:.3g}, not within [0, 1]"
            raise ImageError(name, reason, "give images without NaN, before normalisation")
        array: npt.NDArray[Any] = (image.clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
    else:
        array = image.numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _refuse_shape(shape: Sequence[int], channels: Sequence[int], name: str, mend: str) -> None:
    if len(shape) < 2 or 0 in shape or tuple(channels) not in ((), (1,), (3,)):
        reason = f"the shape {times(shape)} is not that of an image"
        raise ImageError(name, reason, mend)


def _pixel_problem(array: npt.NDArray[Any]) -> tuple[str, str] | None:
    """Say what is wrong with the values of an array and what to do, or None."""
    kind, has = array.dtype.kind, f"has dtype {array.dtype}"
    if kind == "u" and array.itemsize in (1, 2):
        return None
    if kind == "O":
        return has, "give images of one size as one uint8 array, or a list of arrays"
    if kind not in "fiub" or not array.size:
        return has, "give uint8 or uint16"
    low, high = float(array.min()), float(array.max())  # NaN if there is any
    if np.isnan(low):
        return f"{has} and holds NaN", "replace it and give uint8"
    has += f" and ranges from {low:.6g} to {high:.6g}"
    # A resize may overshoot by a rounding error.
    if low < (-1e-3 if kind == "f" else 0) or high > 65535:
        return has, "scale it to 0 to 255 and give uint8"
    if kind in "fb" and high <= 1 + 1e-3:
        return has, "give (255 * X).round().astype('uint8')"
    whole = ".round()" if kind == "f" else ""
    return has, f"give X{whole}.astype('uint{8 if high <= 255 else 16}')"


def shape_problem(shape: tuple[int, ...]) -> tuple[str, str] | None:
    """Say what is wrong with the shape of a batch and what to do, or None."""
    given = times(shape)
    if len(shape) == 2:
        return f"is one image of shape {given}", "give a batch, X[None]"
    if len(shape) == 3 and shape[2] in (1, 3, 4):
        mend = f"give a batch, X[None], or X[..., None] for {shape[0]} grey images"
        return f"is one image of shape {given}", mend
    if 0 in shape:
        return f"of shape {given} is empty", "give at least one image"
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)):
        return None
    if len(shape) == 4 and shape[3] == 4:
        return "has 4 channels", "leave out the transparency, X[..., :3]"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "has its channels first", "move them last, X.transpose(0, 2, 3, 1)"
    return f"has the shape {given}", "give N x H x W x 3, N x H x W x 1 or N x H x W"


class ArraySource(ImageSource):
    """Holds images of one size in one array.

    Attributes:
        array: N x H x W x C, C in {1, 3}, uint8 or uint16, not copied from what was given.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        if problem := _pixel_problem(array):
            raise TypeError(f"The array {problem[0]}; {problem[1]}.")
        if problem := shape_problem(array.shape):
            raise ValueError(f"The array {problem[0]}; {problem[1]}.")
        array = array[..., None] if array.ndim == 3 else array
        self.array = array.astype(array.dtype.newbyteorder("="), copy=False)
        self.names = _numbered(len(array))

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        return self.array[index]


class ListSource(ImageSource):
    """Holds a list of Pillow images, or of arrays of differing sizes."""

    def __init__(self, images: Sequence[Image.Image | npt.NDArray[Any]]) -> None:
        self._images = images
        self._lock = Lock()
        self.names = _numbered(len(images))

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        with self._lock:  # Pillow may still have to load it from its file
            return to_array(self._images[index], self.names[index])


class DatasetSource(ImageSource):
    """Reads a map-style torch Dataset whose items are an image or a tuple that begins with one."""

    def __init__(self, dataset: Any) -> None:
        by_number = not isinstance(dataset, loaded_torch().utils.data.IterableDataset)
        if not by_number or not hasattr(dataset, "__len__"):
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


def _numbered(count: int) -> list[str]:
    return [f"image {index}" for index in range(count)]
