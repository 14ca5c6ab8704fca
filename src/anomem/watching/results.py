"""The file of results of a watched folder: a line an image, each written once and for good."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

from anomem.runtime.files import locked, named_if_unwritten

_START = b'{"number": '


@dataclass(frozen=True)
class Result:
    """Holds what a line says of one image.

    Attributes:
        number: Of the line, from 1.
        time: When it was scored, in UTC as ISO 8601.
        path: Of the image, from the watched folder.
        version: Size and time of its file.
        sha256: Of its content.
        model: What tells the model from others.
        score: Higher is more anomalous; None, as what follows, where the image cannot be read.
        p_value: Share of normals that score as high.
        threshold: Above it an image is called anomalous.
        verdict: "normal", "anomalous" or "unreadable".
        error: Why it cannot be read, or None.
        heat_map: File of its heat map, or None.
        moved_to: Where it goes when the line is written, or None.
        drift: The change of the images that was found with this one, or None.
    """

    number: int
    time: str
    path: str
    version: str
    sha256: str
    model: str
    score: float | None
    p_value: float | None
    threshold: float
    verdict: str
    error: str | None
    heat_map: str | None
    moved_to: str | None
    drift: dict[str, Any] | None


class ResultFile:
    """Keeps the results in a file of JSON lines, which one process at a time may write.

    Lines are on the disk when :meth:`append` returns. Of a line that was cut short by a kill
    nothing is left when the file is opened again.

    Args:
        file: Made where it is missing.

    Attributes:
        lines: How many there are.

    Raises:
        ValueError: It is no file of results, or another process has it.
        WriteError: It cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.lines = file, 0
        with named_if_unwritten(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(file, "a+")  # what cannot be written is not held and written later
            try:
                self._begin()
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> Iterator[Result]:
        """Yield the results that are there.

        Raises:
            ValueError: A line is no result.
        """
        with self.file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield Result(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise self._strange(number) from error

    def append(self, results: Sequence[Result]) -> None:
        """Write lines, all or none.

        Raises:
            WriteError: They cannot be written.
        """
        rest = "".join(json.dumps(asdict(result)) + "\n" for result in results).encode()
        size = os.fstat(self._file.fileno()).st_size
        with named_if_unwritten(self.file):
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(size)
                raise
        self.lines += len(results)

    def _begin(self) -> None:
        """Take the file for this process, and count its lines."""
        if not locked(self._file.fileno(), wait=False) and sys.platform != "win32":
            raise ValueError(
                f"{self.file} is written by another anomem watch, or cannot be locked where it "
                "lies; give another path."
            )
        whole, rest = 0, b""
        with self.file.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self.lines, whole = self.lines + 1, whole + len(line)
                else:
                    rest = line
        if not _START.startswith(rest[: len(_START)]):
            raise self._strange(self.lines + 1)
        self._file.truncate(whole)

    def _strange(self, number: int) -> ValueError:
        return ValueError(
            f"{self.file}: line {number} is no result of anomem watch; give another path."
        )
