"""What a person said of images, in a CSV file that loses nothing."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from threading import Lock

from anomem.labelling.rows import Answer, Columns, as_text

if sys.platform != "win32":
    import fcntl

LABELS = {"normal": 0, "anomalous": 1}
"""The answers that are labels."""


class AnswerFile:
    """Keeps a CSV file with a row an answer; the last row of an image counts.

    Every answer is a line of its own, appended in one write that is on the disk when
    :meth:`append` returns. So nothing is lost when the process is killed, and several pages or
    processes can write to one file. It may have been begun in a spreadsheet: with semicolons or
    tabs, a byte order mark, names in the code page of Windows, further columns, and words such as
    "Good" or "1"; rows of a split other than "train" are no labels. What cannot be understood is
    refused by its line, and nothing is appended to it.

    Args:
        file: Made with the first answer.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._busy = Lock()
        self._taken_in = b""
        self._answers: dict[str, Answer] = {}

    def append(self, image: Path, answer: Answer) -> None:
        """Keep an answer; the path is kept as seen from the folder of the file.

        Raises:
            ValueError: The file is not one of answers.
            OSError: It cannot be written; it is as it was.
        """
        mend = "make room, or let this user write there, and answer again"
        with (
            self._busy,
            self._told("the answer was not kept", mend),
            FileIO(self.file, "a+") as file,
        ):
            _wait_for(file)
            file.seek(0)
            content = file.readall()
            self._answers_of(content)
            _append(file, self._line(content, os.path.abspath(image), answer))

    def read(self) -> dict[str, Answer]:
        """Read the answer that counts of each image, by absolute path, the latest given last.

        Only what was added since the last call is read anew.

        Raises:
            ValueError: The file is not one of answers.
            OSError: It cannot be read.
        """
        mend = "let this user read the file, or give another one"
        with self._busy, self._told("the answers cannot be read", mend):
            try:
                with FileIO(self.file) as file:
                    _wait_for(file, shared=True)
                    content = file.readall()
            except FileNotFoundError:
                content = b""
            return self._answers_of(content)

    def labels(self) -> dict[str, int]:
        """Give the label of each image answered, by absolute path.

        0 normal, 1 anomalous, -1 where the image was skipped or its answer taken back.
        """
        return {image: LABELS.get(answer, -1) for image, answer in self.read().items()}

    def _answers_of(self, content: bytes) -> dict[str, Answer]:
        """Take in what a file holds; what was taken in before is compared and not parsed."""
        if not content.startswith(self._taken_in):
            self._taken_in, self._answers = b"", {}
        if not self._taken_in:
            self._columns = Columns.of(self.file, as_text(self.file, content))
        added = as_text(self.file, content[len(self._taken_in) :])
        answers = dict(self._answers)
        for image, answer, split in self._columns.rows(added, self._taken_in.count(b"\n")):
            if answer is not None and split in ("", "train"):
                answers.pop(image, None)
                answers[image] = answer
        if content.endswith(b"\n"):  # or its last row may still grow
            self._taken_in, self._answers = content, answers
        return dict(answers)

    def _line(self, content: bytes, image: str, answer: Answer) -> bytes:
        """What is added to a file: an answer, after the first line if it has none yet."""
        start = "" if as_text(self.file, content).strip() else self._columns.header()
        if content and not content.endswith((b"\n", b"\r", codecs.BOM_UTF8)):
            start = "\n" + start
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return (start + self._columns.line(image, answer, now)).encode("utf-8", "surrogateescape")

    @contextmanager
    def _told(self, what: str, mend: str) -> Iterator[None]:
        """Errors of the system, in one sentence that names the file."""
        try:
            yield
        except OSError as error:
            raise OSError(f"{self.file}: {what} ({error.strerror}); {mend}.") from error


def _append(file: FileIO, line: bytes) -> None:
    """Write at the end, whole or not at all."""
    before = os.fstat(file.fileno()).st_size
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


def _wait_for(file: FileIO, *, shared: bool = False) -> None:
    """Until no other process writes to the file, or, if this one will, reads it."""
    if sys.platform != "win32":
        with suppress(OSError):  # a storage without locks: a line is still one write
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
