"""Paths, folders and patterns to a list of files, and files to groups."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif",
    ".pgm", ".ppm", ".jp2", ".avif",
)  # fmt: skip
TABLE_SUFFIXES = (".parquet",)

File = TypeVar("File", str, Path)


def protocol_of(given: str | Path) -> str | None:
    """How the files of a URL are reached, as s3; None of a path of this machine."""
    protocol, separator, _ = str(given).partition("://")
    return protocol if separator and protocol != "file" else None


def absolute(given: str | Path) -> str:
    """A path as another process finds it; a URL as it is."""
    if protocol_of(given) is not None:
        return str(given)
    return os.path.abspath(os.path.expanduser(str(given).removeprefix("file://")))


def list_images(paths: str | Path | Sequence[str | Path], *, tables: bool = False) -> list[Path]:
    """List the image files that paths stand for.

    Args:
        paths: a folder (searched with its sub-folders for ``IMAGE_SUFFIXES``, hidden files left
            out, sorted), a file (taken whatever its suffix), a pattern with ``*``, ``?`` or ``[``
            (what it matches is taken as if given one by one), or several of those. A literal
            path that exists wins over a pattern, and ``file://`` before it is left out.
        tables: of a folder without images, list the Parquet files.

    Returns:
        The files in the order given, each once.

    Raises:
        ValueError: a path does not exist, a folder has no image, a pattern matches nothing, or no
            path is given.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    if not paths:
        raise ValueError("The list of paths is empty; give at least one image or folder.")
    files: dict[str, Path] = {}
    for path in paths:
        for file in _files(path, tables):
            files.setdefault(os.path.abspath(file), file)
    return list(files.values())


def names_in_common(paths: Sequence[str]) -> list[str]:
    """Short names of files: their paths from the folder above the lowest one common to all.

    Args:
        paths: N paths, at least one.

    Returns:
        N names, such as "good/007.png" and "bad/crack/007.png".
    """
    parents = [os.path.dirname(os.path.abspath(path)) for path in paths]
    common = os.path.commonpath(parents)
    above = os.path.dirname(common) if common in parents else common
    return [os.path.relpath(path, above) for path in paths]


def groups_by_pattern(names: Sequence[str], pattern: str) -> list[str]:
    """Find the group of each image, such as the part or the day it comes from, in its path.

    Args:
        names: N paths.
        pattern: a regular expression, searched anywhere in each path; the group is what its first
            parenthesis matches, or its whole match where it has none.

    Returns:
        N groups.

    Raises:
        ValueError: the pattern is not a regular expression, or a path does not match.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"The pattern '{pattern}' is not a regular expression ({error}); correct it."
        ) from error
    groups = []
    for name in names:
        match = expression.search(name)
        group = match and match.group(min(expression.groups, 1))
        if group is None:
            raise ValueError(
                f"{name}: the pattern '{pattern}' does not match this path; "
                "widen it or leave the file out."
            )
        groups.append(group)
    return groups


def _files(given: str | Path, tables: bool) -> list[Path]:
    if not str(given) or "\0" in str(given):
        raise ValueError(f"The path {str(given)!r} is not a path; give an image or a folder.")
    path = Path(str(given).removeprefix("file://")).expanduser()
    if os.path.isdir(path):
        return _folder(path, tables)
    if os.path.lexists(path):  # a broken link is a bad image, reported when it is read
        return [path]
    if not glob.has_magic(str(path)):
        raise ValueError(f"{path}: there is no such file or folder; check the path.")
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise ValueError(f"{path}: no file matches this pattern; check the path.")
    # "**" matches folders and the files in them; list_images drops what comes twice.
    return [file for match in matches for file in _files(match, tables)]


def _folder(folder: Path, tables: bool) -> list[Path]:
    found = sorted(file for file in _walk(folder) if not file.name.startswith("."))
    return of_folder(found, str(folder), tables=tables)


def of_folder(found: Sequence[File], folder: str, *, tables: bool) -> list[File]:
    """The images among the files of a folder; without any, its Parquet files if asked for.

    Raises:
        ValueError: There are none.
    """
    for suffixes in (IMAGE_SUFFIXES, TABLE_SUFFIXES)[: 1 + tables]:
        if files := [file for file in found if str(file).lower().endswith(suffixes)]:
            return files
    known = ", ".join(IMAGE_SUFFIXES)
    raise ValueError(f"{folder}: the folder has no image ({known}); check the path.")


def _walk(folder: Path) -> Iterator[Path]:
    """All files under a folder, through links to folders, each folder once."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        yield from (Path(root, name) for name in names)


def _refuse(error: OSError) -> None:
    raise ValueError(
        f"{error.filename}: the folder cannot be listed ({error.strerror}); "
        "let this user read it or move it away."
    ) from error
