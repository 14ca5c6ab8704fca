"""LSUN: photographs of ten kinds of places (Yu et al., 2015), as a set to test on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anomem.images.listing import list_images
from anomem.images.source import BytesSource
from anomem_bench.datasets.parts import Part, Parts, part_of_files

SOURCE = "https://www.yf.io/p/lsun"


def lsun(path: Path) -> Parts:
    """Read test images, without a part to train on.

    Args:
        path: A folder with official databases of validation or test images
            (``bedroom_val_lmdb``, ..., ``test_lmdb``; needs the package ``lmdb``); or a folder
            of images, such as the unpacked archives ``LSUN_resize`` and ``LSUN_fix`` of the
            out-of-distribution literature.
    """
    databases = sorted([*path.glob("*_val_lmdb"), *path.glob("test_lmdb")])
    if databases:
        return Parts(None, _databases(databases))
    if not path.is_dir():
        raise ValueError(
            f"{path} holds no LSUN; get bedroom_val_lmdb and others from {SOURCE}, or give a "
            "folder of images."
        )
    return Parts(None, part_of_files([(file, "place") for file in list_images(path)], ["place"]))


def _databases(folders: list[Path]) -> Part:
    try:
        import lmdb
    except ImportError as error:
        raise ValueError("*_lmdb needs a package; pip install 'anomem[bench]'.") from error

    contents: list[bytes] = []
    names: list[str] = []
    label: list[int] = []
    for index, folder in enumerate(folders):
        try:
            with (
                lmdb.open(str(folder), readonly=True, lock=False, create=False) as database,
                database.begin() as reader,
            ):
                rows = list(reader.cursor())
        except lmdb.Error as error:
            raise ValueError(f"{folder} is no database that can be read ({error}).") from error
        names += [f"{folder}, {key.decode(errors='replace')}" for key, _ in rows]
        contents += [value for _, value in rows]
        label += [index] * len(rows)
    classes = tuple(f.name.removesuffix("_lmdb").removesuffix("_val") for f in folders)
    return Part(BytesSource(contents, names), np.array(label, np.int64), classes)
