"""A table of answers, row by row: what a page wrote, and what people write by hand."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from anomem.images.listing import local_path

Answer = Literal["normal", "anomalous", "skipped", "undone"]

COLUMNS = ("image", "answer", "time")
"""Of a table that the page begins."""
_WORDS: dict[Answer, tuple[str, ...]] = {
    "normal": ("normal", "good", "ok", "0", "0.0"),
    "anomalous": (
        *("anomalous", "anomaly", "abnormal", "bad", "defect", "defective", "ng", "nok"),
        *("1", "1.0"),
    ),
    "skipped": ("skipped", "skip"),
    "undone": ("undone",),
}
_NAMES = {
    "image": ("image", "path", "file_name"),
    "answer": ("answer", "label"),
    "split": ("split",),
}
"""What the columns that are read are called; the first that there is counts."""
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MEANING = {word: answer for answer, words in _WORDS.items() for word in words}
_FORMULA = ("=", "+", "-", "@")


class Row(NamedTuple):
    """Says what a row of a table holds.

    Attributes:
        image: Absolute path.
        answer: What was said of it, None where nothing is yet.
        split: That it belongs to, in small letters; "" where none is named.
    """

    image: str
    answer: Answer | None
    split: str


def as_text(file: Path, content: bytes) -> str:
    """Decode what a table holds; bytes that are not UTF-8 become surrogate escapes.

    Raises:
        ValueError: It is UTF-16.
    """
    if content.startswith(_WIDE) or b"\0" in content[:2]:
        raise ValueError(f"{file} is UTF-16; save it again as CSV in UTF-8.")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def answer_of(word: str) -> Answer | None:
    """Give the answer that a word stands for, as "normal" for "Good"; None of any other word."""
    return _MEANING.get(word.strip().lower())


@dataclass(frozen=True)
class Columns:
    """Says how a table of answers is laid out.

    Attributes:
        file: Of the table.
        folder: Absolute path of its folder, from which paths of images are seen.
        delimiter: A comma, a semicolon or a tab.
        names: Of its columns, as its first line has them.
        image: Number of the column with the path of an image.
        answer: Number of the column with what was said of it; None where there is none.
        split: Number of the column with the split that it belongs to; None where there is none.
    """

    file: Path
    folder: str
    delimiter: str
    names: tuple[str, ...]
    image: int
    answer: int | None
    split: int | None

    @staticmethod
    def of(file: Path, text: str, *, answered: bool = True) -> Columns:
        """Read the first line of a table; an empty one gives those of a new table.

        Raises:
            ValueError: It has no column "image", or "answer" where it should be answered.
        """
        first = next((line for line in text.splitlines() if line.strip()), ",".join(COLUMNS))
        delimiter = max(",;\t", key=first.count)
        names = tuple(name.strip() for name in next(csv.reader([first], delimiter=delimiter)))
        known = [name.lower() for name in names]
        found = {}
        for role, words in _NAMES.items():
            word = next((word for word in words if word in known), None)
            found[role] = known.index(word) if word and known.count(word) == 1 else None
        image, answer = found["image"], found["answer"]
        if image is None or (answered and answer is None):
            raise ValueError(
                f"{file} has the columns {', '.join(names)} and not {', '.join(COLUMNS)}; "
                "give another file, or name them so in its first line."
            )
        folder = os.path.abspath(file.parent)
        return Columns(file, folder, delimiter, names, image, answer, found["split"])

    def header(self) -> str:
        """Write the first line."""
        return self._line(self.names)

    def line(self, image: str, answer: Answer, time: str) -> str:
        """Write a row: absolute path, what was said of it, when; columns of others stay empty."""
        below = os.path.relpath(image, self.folder)
        if below.startswith(_FORMULA):  # or a spreadsheet computes it
            below = os.path.join(os.curdir, below)
        fields = {self.image: below, self.answer: answer}
        return self._line(
            [
                fields.get(number, time if name.lower() == "time" else "")
                for number, name in enumerate(self.names)
            ]
        )

    def rows(self, text: str, lines_before: int) -> Iterator[Row]:
        """Read the rows of a part of the table, its first line and empty lines apart.

        Args:
            text: Whole lines; bytes that are not UTF-8 as surrogate escapes.
            lines_before: Number of lines of the table before them.

        Raises:
            ValueError: A row cannot be understood; names its line.
        """
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter, strict=True)
        line, header = lines_before + 1, lines_before == 0
        try:
            for fields in reader:
                if any(field.strip() for field in fields):
                    if not header:
                        yield self._row(fields, line)
                    header = False
                line = lines_before + reader.line_num + 1
        except csv.Error as error:
            why = f"cannot be read, as where a quote is not closed ({error})"
            raise self._refused(line, why) from error

    def _row(self, fields: list[str], line: int) -> Row:
        last = max(self.image, self.answer or 0, self.split or 0)
        few, many = len(fields) <= last, fields[len(self.names) :]
        if few or any(field.strip() for field in many):
            raise self._refused(line, f"has {len(fields)} columns for {len(self.names)}")
        image = fields[self.image]
        word = "" if self.answer is None else fields[self.answer].strip()
        if word and answer_of(word) is None:
            raise self._refused(
                line,
                f"says {word!r}, which is not one of normal (good, ok), anomalous (bad, defect), "
                "skipped and undone; kinds of defects belong in a column of their own",
            )
        if not image.strip() or "\0" in image:
            raise self._refused(line, f"names no image ({image!r})")
        split = "" if self.split is None else fields[self.split].strip().lower()
        return Row(self.path(image), answer_of(word), split)

    def path(self, given: str) -> str:
        """Give the path that is meant: as it is given, or as a spreadsheet or Windows has it."""
        given = local_path(given)
        path = os.path.normpath(os.path.join(self.folder, given))
        if given.isascii() and "\\" not in given and given == given.strip():
            return path
        written = [given, given.strip(), given.strip().replace("\\", "/")]
        with suppress(UnicodeError):  # bytes of the code page of Windows
            written.append(written[-1].encode("utf-8", "surrogateescape").decode("cp1252"))
        meant = (os.path.normpath(os.path.join(self.folder, each)) for each in written)
        return next((each for each in meant if os.path.lexists(each)), path)

    def _line(self, fields: Sequence[str]) -> str:
        text = io.StringIO()
        # Of the two line ends each is quoted where it is in a name, so both are given.
        csv.writer(text, delimiter=self.delimiter, lineterminator="\r\n").writerow(fields)
        return text.getvalue().removesuffix("\r\n") + "\n"

    def _refused(self, line: int, what: str) -> ValueError:
        return ValueError(f"{self.file}, line {line} {what}; correct or remove that line.")
