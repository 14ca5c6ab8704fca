"""Image files of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from anomem.images.decode import decode, open_file
from anomem.images.source import StoredSource


class FileSource(StoredSource):
    """Reads image files when they are asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self.names = [str(path) for path in paths]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        return decode(self._paths[index])

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """Decode one file, a JPEG at a reduced size."""
        return decode(self._paths[index], least)

    def encoded(self, index: int) -> bytes:
        """Read the content of one file."""
        return read_file(self._paths[index])

    def part(self, start: int, stop: int) -> FileSource:
        """Choose some of the files."""
        return FileSource(self._paths[start:stop])

    def versions(self) -> list[str]:
        """Give size and time of each file."""
        return [version_of_file(path) for path in self.names]


def read_file(path: str | Path) -> bytes:
    """Read the content of a file; ImageError where it cannot be."""
    with open_file(Path(path)) as file:
        return file.read()


def version_of_file(path: str) -> str:
    """Give size and time of a file; "" where it cannot be told."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"
