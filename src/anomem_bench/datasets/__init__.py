"""Data sets of the literature by name, from local files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anomem_bench.datasets.cifar import CIFAR10_CLASSES, cifar10, cifar100, cifar100_fine
from anomem_bench.datasets.elpv import elpv
from anomem_bench.datasets.folders import cub200, folder, mvtec_ad, visa
from anomem_bench.datasets.lsun import lsun
from anomem_bench.datasets.parquet import is_parquet, parquet
from anomem_bench.datasets.parts import Part, Parts
from anomem_bench.datasets.svhn import svhn
from anomem_bench.datasets.wmca import wmca

__all__ = ["NAMED", "Part", "Parts", "called_of", "load_named"]

NAMED: dict[str, Callable[[Path], Parts]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar100-fine": cifar100_fine,
    "svhn": svhn,
    "lsun": lsun,
    "cub200": cub200,
    "wmca": wmca,
    "mvtec_ad": mvtec_ad,
    "visa": visa,
    "elpv": elpv,
    "folder": folder,
    "parquet": parquet,
}
"""From the path of a data set to its parts, by its name."""
_PARQUET_TOO = {"cifar10": CIFAR10_CLASSES, "cifar100-fine": (), "svhn": (), "lsun": ()}
"""Sets that may also lie in Parquet files, as those of "parquet", and the names of their classes
where the files need not tell."""
_LAYOUTS = ("mvtec_ad", "visa", "folder", "parquet")
"""Names of layouts rather than of sets."""


def called_of(name: str, path: Path | None) -> str:
    """Say what a data set is called in results: its name and, of a layout, that of its path too."""
    return f"{name} {path.absolute().stem}" if path is not None and name in _LAYOUTS else name


def load_named(name: str, path: Path | None) -> Parts:
    """Read a data set from local files; nothing is downloaded.

    Args:
        name: In :data:`NAMED`.
        path: Where it lies; None is for sets that come in a package.

    Returns:
        The part to train on and the part to test on.

    Raises:
        ValueError: The name is unknown, or files are missing, damaged or of another layout.
    """
    if name not in NAMED:
        known = ", ".join(NAMED)
        raise ValueError(f"{name!r} is no data set known by name; give one of: {known}.")
    if name == "elpv":
        return elpv(path)
    if path is None:
        raise ValueError(f"{name} needs a path; give it as {name}:PATH.")
    if name in _PARQUET_TOO and is_parquet(path):
        return parquet(path, _PARQUET_TOO[name])
    return NAMED[name](path)
