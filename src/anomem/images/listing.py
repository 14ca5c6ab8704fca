"""Paths, folders and patterns, here or on object storage, to files; and files to groups."""

from __future__ import annotations

import glob
import itertools
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote_to_bytes

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".avif", ".avifs",
    ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
    ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".apng", ".dib", ".dcm", ".dicom",
)  # fmt: skip
"""Of the files that the decoder reads."""
TABLE_SUFFIXES = (".parquet",)
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv",
)  # fmt: skip
UNREADABLE_SUFFIXES = (
    ".heic", ".heif", ".hif", ".heics", ".jxl", ".jxr", ".wdp", ".hdp", ".jls", ".bpg", ".qoi",
    ".nii", ".nii.gz", ".nrrd", ".mha", ".czi", ".nd2", ".lif", ".mrxs",
    ".dng", ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".raf",
    ".rw2", ".rwl", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".kdc", ".dcr", ".mrw", ".erf", ".mef",
    ".exr", ".hdr", ".pfm", ".fits", ".fts", ".psd", ".psb", ".xcf", ".tga", ".pcx", ".dds",
    ".sgi", ".ras", ".xbm", ".xpm",
)  # fmt: skip
"""Of images that it does not read: in a folder they are counted and told."""
_NOT_OURS = frozenset({
    "@eadir", "@recycle", "@recently-snapshot", "@sharebin", "@tmp", "@__thumb", "#recycle",
    "#snapshot", "~snapshot", "$recycle.bin", "system volume information", "lost+found",
    "__macosx", "network trash folder", "temporary items", "thumbs.db", "ehthumbs.db",
    "desktop.ini",
})  # fmt: skip
"""What storage systems keep in folders: thumbnails, recycle bins, snapshots; in lower case."""


class Storage(Protocol):
    """Finds files where they lie: on this machine or on object storage.

    Attributes:
        mend: What to check where there is no such file.
    """

    mend: str

    def kind(self, path: str) -> Literal["file", "folder"] | None:
        """Say what a path is; None where there is nothing."""

    def glob(self, pattern: str) -> list[str]:
        """List the paths that match a pattern."""

    def files(self, folder: str) -> list[str]:
        """List the files below a folder, but for what is left out."""


def protocol_of(given: str | Path) -> str | None:
    """Say how the files of a URL are reached, as s3; None of a path of this machine."""
    protocol, separator, _ = str(given).partition("://")
    return protocol if separator and protocol != "file" else None


def local_path(given: str | Path) -> str:
    """Give a path as it was given, or the one that a ``file://`` URI means."""
    path = str(given)
    if not path.startswith("file://"):
        return path
    path = path.removeprefix("file://")
    return path if os.path.lexists(path) else os.fsdecode(unquote_to_bytes(path))


def absolute(given: str | Path) -> str:
    """Write a path as another process finds it; a URL as it is."""
    if protocol_of(given) is not None:
        return str(given)
    return os.path.abspath(os.path.expanduser(local_path(given)))


def list_images(paths: str | Path | Sequence[str | Path], *, tables: bool = False) -> list[Path]:
    """List the image files that paths stand for.

    Args:
        paths: A folder (searched with its sub-folders for ``IMAGE_SUFFIXES``, sorted; hidden files
            and folders are left out, and those where storage systems keep thumbnails and what
            was deleted), a file (taken whatever its suffix), a pattern with ``*``, ``?`` or ``[``
            (what it matches is taken as if given one by one), or several of those. A literal
            path that exists wins over a pattern, a bracket that is part of a name over one that
            stands for characters, and ``file://`` before it is left out.
        tables: Of a folder without images, list the Parquet files, or else the videos.

    Returns:
        The files in the order given; each once, unless all that is given are files.

    Raises:
        ValueError: A path does not exist, a folder has no image, a pattern matches nothing, or no
            path is given.

    Warns:
        UserWarning: A folder has ``UNREADABLE_SUFFIXES`` too.
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    if not given:
        raise ValueError("The list of paths is empty; give at least one image or folder.")
    for path in map(str, given):
        if not path or "\0" in path:
            raise ValueError(f"The path {path!r} is not a path; give an image or a folder.")
    local = [str(Path(local_path(path)).expanduser()) for path in given]
    found = list_files(_Disk(), local, tables=tables)
    if found == local:
        return [Path(path) for path in found]
    once: dict[str, Path] = {}
    for path in found:
        once.setdefault(os.path.abspath(path), Path(path))
    return list(once.values())


def list_files(storage: Storage, paths: Sequence[str], *, tables: bool) -> list[str]:
    """List the files that paths of one storage stand for, as :func:`list_images` does."""
    unreadable: set[str] = set()
    found = [file for path in paths for file in _files(storage, path, tables, unreadable)]
    if unreadable:
        warnings.warn(
            f"{len(unreadable)} images that cannot be read were left out "
            f"({_counted(unreadable)}), as {min(unreadable)}; convert them to PNG.",
            stacklevel=3,
        )
    return found


def names_in_common(paths: Sequence[str]) -> list[str]:
    """Shorten the names of files: their paths from the folder above the lowest one common to all.

    Such as "good/007.png" and "bad/crack/007.png".
    """
    parents = [os.path.dirname(os.path.abspath(path)) for path in paths]
    common = os.path.commonpath(parents)
    above = os.path.dirname(common) if common in parents else common
    return [os.path.relpath(path, above) for path in paths]


def groups_by_pattern(names: Sequence[str], pattern: str) -> list[str]:
    """Find the group of each image, such as the part or the day it comes from, in its path.

    The pattern is a regular expression, searched anywhere in each path; the group is what its first
    parenthesis matches, or its whole match where it has none.

    Raises:
        ValueError: The pattern is not a regular expression, or a path does not match.
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


def _files(storage: Storage, path: str, tables: bool, unreadable: set[str]) -> list[str]:
    kind = storage.kind(path)
    if kind == "file":
        return [path]
    if kind == "folder":
        files = sorted(storage.files(path), key=lambda file: file.split("/"))
        return _images_among(files, path, tables, unreadable)
    if not glob.has_magic(path):
        raise ValueError(f"{path}: there is no such file or folder; {storage.mend}.")
    for pattern in _readings(path):
        # "**" matches folders and the files in them, which then come twice.
        if matches := [match for match in storage.glob(pattern) if _is_meant(match, pattern)]:
            listed = (_files(storage, match, tables, unreadable) for match in sorted(matches))
            return list(dict.fromkeys(itertools.chain.from_iterable(listed)))
    raise ValueError(f"{path}: no file matches this pattern; {storage.mend}.")


def _images_among(
    files: Sequence[str], folder: str, tables: bool, unreadable: set[str]
) -> list[str]:
    """The images among the files of a folder; without any, its tables or videos if asked for."""
    strange = {file for file in files if file.lower().endswith(UNREADABLE_SUFFIXES)}
    kinds = (IMAGE_SUFFIXES, TABLE_SUFFIXES, VIDEO_SUFFIXES)
    for suffixes in kinds if tables else kinds[:1]:
        if found := [file for file in files if file.lower().endswith(suffixes)]:
            unreadable |= strange
            return found
    if strange:
        raise ValueError(
            f"{folder}: the folder has no image that can be read ({_counted(strange)}); "
            "convert them to PNG."
        )
    known = ", ".join(IMAGE_SUFFIXES)
    raise ValueError(f"{folder}: the folder has no image ({known}); check the path.")


def _counted(files: set[str]) -> str:
    kinds = Counter(
        next(suffix for suffix in UNREADABLE_SUFFIXES if file.lower().endswith(suffix))
        for file in files
    )
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def left_out(name: str) -> bool:
    """Tell whether a file or folder so named is no one's image: hidden, or a storage system's."""
    return name.startswith(".") or name.casefold() in _NOT_OURS


def _readings(pattern: str) -> Iterator[str]:
    """What a pattern may mean: brackets are first taken as they stand, part by part."""
    either = [
        [part.replace("[", "[[]"), part] if "[" in part else [part] for part in pattern.split("/")
    ]
    return ("/".join(reading) for reading in itertools.product(*either))


def _is_meant(match: str, pattern: str) -> bool:
    """Whether a path that matches a pattern has no part that is left out but where it is named."""
    named = pattern.split("/")
    dotted = any(part.startswith(".") for part in named)
    return not any(
        left_out(part) and part not in named and not (dotted and part.startswith("."))
        for part in match.split("/")
    )


class _Disk:
    """Files of this machine."""

    mend = "check the path"

    def kind(self, path: str) -> Literal["file", "folder"] | None:
        if os.path.isdir(path):
            return "folder"
        # A broken link is a bad image, told when it is read.
        return "file" if os.path.lexists(path) else None

    def glob(self, pattern: str) -> list[str]:
        return glob.glob(pattern, recursive=True)

    def files(self, folder: str) -> list[str]:
        """Through links to folders, each folder once, which fsspec's search does not promise."""
        found: list[str] = []
        seen = set()
        for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in sorted(folders) if not left_out(name)]
            found += [os.path.join(root, name) for name in names if not left_out(name)]
        return found


def _refuse(error: OSError) -> None:
    raise ValueError(
        f"{error.filename}: the folder cannot be listed ({error.strerror}); "
        "let this user read it or move it away."
    ) from error
