"""Where outputs may not go: over an input, among the images, over a file of somebody else."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from anomem.detector.model_info import DESCRIPTION
from anomem.images.listing import IMAGE_SUFFIXES, local_path, protocol_of
from anomem.images.local import FileSource
from anomem.images.source import ImageSource

_ENDINGS = {"heat map": ".heat.png", "explanation": ".why.png"}
"""Of the files of pictures, by what they show."""


def picture_files(
    names: Sequence[str], folder: Path, what: Literal["heat map", "explanation"]
) -> dict[str, Path]:
    """Name a file for a picture of each image, keeping the folders below their common one.

    That of ``a.jpg`` is ``a.jpg.heat.png`` or ``a.jpg.why.png``, so no two images share one.

    Args:
        names: Paths of the images; one that stands there twice has one picture.
        folder: Where the pictures go.
        what: They show.

    Raises:
        ValueError: A file of that name is there, and was not written here; or the folder holds
            images, beside which pictures would be taken for some.
    """
    # It loads Matplotlib: where that is missing it is told before the work.
    from anomem.report.heat import is_ours

    if not names:
        return {}
    ending = _ENDINGS[what]
    for image in sorted(folder.glob("*")):
        if image.suffix.lower() in IMAGE_SUFFIXES and not image.name.endswith(ending):
            raise ValueError(
                f"{folder} holds images, as {image.name}, and {what}s beside them would be taken "
                "for images; give another folder."
            )
    common = os.path.commonpath([os.path.dirname(os.path.abspath(name)) for name in names])
    files = {
        name: folder / f"{os.path.relpath(os.path.abspath(name), common)}{ending}" for name in names
    }
    for file in files.values():
        if os.path.lexists(file) and not is_ours(file):
            raise ValueError(f"{file} is there and is no {what}; give another folder.")
    return files


def refuse_among_images(folder: Path, given: Sequence[str | Path], names: Sequence[str]) -> None:
    """See that what is written into a folder is not taken for an image the next time.

    Args:
        folder: Of the output.
        given: Folders, patterns and files of images, as they were given.
        names: Paths of the images found there.

    Raises:
        ValueError: The folder lies below a folder of images, or images lie in it.
    """
    target = Path(os.path.realpath(folder))
    roots = [root for each in given if (root := _searched(str(each))) is not None]
    parents = {os.path.dirname(os.path.abspath(name)) for name in names}
    if any(map(target.is_relative_to, roots)) or str(target) in map(os.path.realpath, parents):
        raise ValueError(
            f"{folder} lies among the images, so what is written there would be taken for one the "
            "next time; give another folder."
        )


def refuse_input(file: Path, given: Sequence[str | Path], source: ImageSource) -> None:
    """See that a table neither replaces an input nor becomes one.

    Raises:
        ValueError: It would.
    """
    tables = _tables(source)
    inputs = [*(str(each) for each in given), *(tables or source.names)]
    target = os.path.realpath(file)
    alike = (each for each in inputs if os.path.basename(each) == os.path.basename(target))
    if any(os.path.realpath(each) == target for each in alike):
        raise ValueError(f"{file} is one of the inputs; give another path.")
    if tables and file.suffix != ".csv":
        refuse_among_images(file.parent, given, [])


def refuse_report(file: Path, model: Path, images: Sequence[str], masks: Sequence[Path]) -> None:
    """See that a page replaces no image, no mask and no part of the model.

    Raises:
        ValueError: It would.
    """
    target = os.path.realpath(file)
    names = [*images, *map(str, masks)]
    inputs = {os.path.realpath(name) for name in names if protocol_of(name) is None}
    inputs.update(os.path.realpath(part) for part in model.glob("*.safetensors"))
    if target in {*inputs, os.path.realpath(model / DESCRIPTION)}:
        raise ValueError(f"{file} is one of the inputs; give another path.")


def _tables(source: ImageSource) -> list[str]:
    """The Parquet files that images lie in; none of others."""
    if isinstance(source, FileSource):
        return []
    from anomem.images.parquet import ParquetSource  # loads what reads such files

    return [rows.file for rows in source.rows] if isinstance(source, ParquetSource) else []


def _searched(given: str) -> str | None:
    """The folder that a path has searched with all below it; None for files and plain patterns."""
    path = os.path.expanduser(local_path(given))
    if os.path.isdir(path):
        return os.path.realpath(path)
    if "**" not in path:
        return None
    plain = path
    while glob.has_magic(plain):
        plain = os.path.dirname(plain)
    return os.path.realpath(plain)
