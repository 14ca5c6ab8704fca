"""What a person said of images, in a CSV file that loses nothing."""

from __future__ import annotations

import csv
import io
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

Answer = Literal["normal", "anomalous", "skipped", "undone"]

LABELS = {"normal": 0, "anomalous": 1}
"""The answers that are labels."""
_COLUMNS = ("image", "answer", "time")


class AnswerFile:
    """A CSV file with a row an answer; the last row of an image counts.

    Every answer is a line of its own, appended in one write that is on the disk when
    :meth:`append` returns. So nothing is lost when the process is killed, and several pages or
    processes can write to one file.

    Args:
        file: Made with the first answer.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def append(self, image: Path, answer: Answer) -> None:
        """Keep an answer; the path is kept as seen from the folder of the file."""
        below = os.path.relpath(image.absolute(), self.file.parent.absolute())
        with self.file.open("ab", buffering=0) as end:
            start = "" if end.tell() else _line(_COLUMNS)
            if end.tell() and not self._ends_in_a_line():
                start = "\n"
            now = datetime.now(UTC).isoformat(timespec="seconds")
            end.write((start + _line((below, answer, now))).encode())
            os.fsync(end.fileno())

    def read(self) -> dict[Path, Answer]:
        """The answer that counts of each image, by absolute path, the latest given last.

        Raises:
            ValueError: The file is not one of answers.
        """
        if not self.file.exists():
            return {}
        answers: dict[Path, Answer] = {}
        with self.file.open(newline="", encoding="utf-8") as text:
            rows = csv.reader(text)
            header = tuple(next(rows, _COLUMNS))
            if header != _COLUMNS:
                raise ValueError(
                    f"{self.file} has the columns {', '.join(header)} and not "
                    f"{', '.join(_COLUMNS)}; give another file."
                )
            for row in rows:
                if len(row) == len(_COLUMNS) and row[1] in get_args(Answer):
                    image = Path(os.path.normpath(self.file.parent.absolute() / row[0]))
                    answers.pop(image, None)
                    answers[image] = row[1]  # type: ignore[assignment]
        return answers

    def labels(self) -> dict[Path, int]:
        """The label of each image answered, as ``AnoMem.adapt`` takes it.

        0 normal, 1 anomalous, -1 where the image was skipped or its answer taken back.
        """
        return {image: LABELS.get(answer, -1) for image, answer in self.read().items()}

    def _ends_in_a_line(self) -> bool:
        with self.file.open("rb") as content:
            content.seek(-1, os.SEEK_END)
            return content.read(1) == b"\n"


def _line(fields: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()
