"""CIFAR-10 and CIFAR-100: 60,000 photographs of 32 x 32 pixels each (Krizhevsky, 2009)."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100  # type: ignore[import-untyped]
from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]

from anomem.images.arrays import ArraySource
from anomem_bench.datasets.parquet import is_parquet, parquet
from anomem_bench.datasets.parts import Part, Parts

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}
"""The classes of each superclass of CIFAR-100."""


def cifar10(path: Path) -> Parts:
    """Read ten classes, from the official archive.

    Args:
        path: The file ``cifar-10-python.tar.gz``, the folder ``cifar-10-batches-py``, or the folder
            that holds either. Archives are checked against the official checksums before anything
            in them is read.
    """
    return _official(CIFAR10, path)


def cifar100(path: Path) -> Parts:
    """Read the twenty superclasses; files as of :func:`cifar10`, or Parquet files of them."""
    if is_parquet(path):
        parts = parquet(path)
        if len(parts.test.classes) != len(SUPERCLASSES):
            raise ValueError(
                f"{path} has {len(parts.test.classes)} classes and not the "
                f"{len(SUPERCLASSES)} superclasses; for single classes give cifar100-fine."
            )
        return parts
    fine = _official(CIFAR100, path)
    assert fine.train is not None
    return Parts(_superclasses(fine.train), _superclasses(fine.test))


def cifar100_fine(path: Path) -> Parts:
    """Read the hundred classes; files as of :func:`cifar10`."""
    return _official(CIFAR100, path)


def _superclasses(part: Part) -> Part:
    of_class = {
        name: index for index, words in enumerate(SUPERCLASSES.values()) for name in words.split()
    }
    label = np.array([of_class[part.classes[fine]] for fine in part.label], np.int64)
    return Part(part.images, label, tuple(SUPERCLASSES))


def _official(kind: Any, path: Path) -> Parts:
    whole = path.absolute()
    folder = whole.parent if whole.name == kind.base_folder else path
    if (folder / kind.base_folder).is_dir():
        return _folder(kind, folder)
    for file in (path, path / kind.filename):
        if file.is_file():
            return _archive(kind, file)
    raise ValueError(
        f"{path} holds no {kind.__name__}; give a folder with train.parquet and test.parquet, with "
        f"{kind.base_folder} or with {kind.filename}, which {kind.url} has."
    )


def _archive(kind: Any, file: Path) -> Parts:
    if not check_integrity(file, kind.tgz_md5):
        raise ValueError(
            f"{file} is not the official {kind.filename} (its MD5 sum is another); "
            "download it again."
        )
    with TemporaryDirectory() as folder:
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
        return _folder(kind, Path(folder))


def _folder(kind: Any, root: Path) -> Parts:
    try:
        parts: Sequence[Any] = [kind(root, train=part, download=False) for part in (True, False)]
    except RuntimeError as error:
        raise ValueError(
            f"{root / kind.base_folder} lacks files of the official archive or has others "
            f"(by their MD5 sums); unpack {kind.filename} again."
        ) from error
    train, test = (
        Part(ArraySource(part.data), np.array(part.targets, np.int64), tuple(part.classes))
        for part in parts
    )
    return Parts(train, test)
