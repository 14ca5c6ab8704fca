"""Images on object storage, reached through fsspec."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

import numpy.typing as npt
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from anomem.images.decode import decode_bytes
from anomem.images.errors import AGAIN, ImageError
from anomem.images.listing import (
    is_meant,
    left_out,
    of_folder,
    protocol_of,
    readings,
    tell_unreadable,
)
from anomem.images.source import StoredSource
from anomem.runtime.untrusted import one_line

_CHANGING = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""What the storages of fsspec call what changes with a file, the surest first."""


def storage_of(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL and the path there, set up by fsspec's own configuration.

    Raises:
        ValueError: fsspec knows no such protocol, or lacks the package for it.
    """
    try:
        filesystem, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        protocol = protocol_of(url)
        package = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "s3": "s3fs"}
        mend = f"pip install {package[protocol]}" if protocol in package else "check the URL"
        raise ValueError(f"{url}: fsspec cannot open it ({one_line(error)}); {mend}.") from error
    return filesystem, path


def list_urls(urls: Sequence[str]) -> list[str]:
    """List the files that URLs stand for.

    Args:
        urls: Each a folder (searched with its sub-folders for images, or, where it has none, for
            Parquet files; sorted), a file, or a pattern with ``*``, ``?`` or ``[``. What is left
            out, and what brackets mean, is as of :func:`~anomem.images.listing.list_images`.

    Returns:
        The URLs of the files in the order given; each once, unless all that is given are files.

    Raises:
        ValueError: There is no such file, a folder has no image, or the storage refuses.

    Warns:
        UserWarning: As there.
    """
    unreadable: set[str] = set()
    found = [_files(url, unreadable) for url in urls]
    tell_unreadable(unreadable)
    listed = [file for files in found for file in files]
    return listed if listed == [_itself(url) for url in urls] else list(dict.fromkeys(listed))


def _itself(url: str) -> str:
    storage, path = storage_of(url)
    return str(storage.unstrip_protocol(path))


def _files(url: str, unreadable: set[str]) -> list[str]:
    storage, path = storage_of(url)
    storage.invalidate_cache()  # or what was uploaded since the last listing is not seen
    try:
        found = _matches(storage, path)
        files = [
            file
            for name, entry in found.items()
            for file in (
                _folder(storage, name, unreadable) if entry["type"] == "directory" else [name]
            )
        ]
    except FileNotFoundError as error:
        raise ValueError(f"{url}: there is no such file or folder; check the URL.") from error
    except ValueError:
        raise
    except Exception as error:  # each storage has its own
        raise ValueError(
            f"{url} cannot be listed ({one_line(error)}); check the URL and the credentials."
        ) from error
    return [str(storage.unstrip_protocol(file)) for file in files]


def _matches(storage: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    try:  # a literal path wins over a pattern
        return {path: storage.info(path)}
    except FileNotFoundError:
        if not any(sign in path for sign in "*?["):
            raise
    for pattern in readings(path):
        found = storage.glob(pattern, detail=True)
        if matches := {name: found[name] for name in found if is_meant(name, pattern)}:
            return matches
    raise ValueError(f"{path}: no file matches this pattern; check the URL.")


def _folder(storage: AbstractFileSystem, folder: str, unreadable: set[str]) -> list[str]:
    inside = len(folder.rstrip("/")) + 1
    found = [
        file for file in storage.find(folder) if not any(map(left_out, file[inside:].split("/")))
    ]
    return of_folder(sorted(found), folder, unreadable, tables=True)


def version_of(entry: Mapping[str, Any]) -> str:
    """What a storage says of a file that changes with its content: size, and tag or time."""
    changing = next((str(entry[name]) for name in _CHANGING if entry.get(name)), "")
    return f"{entry.get('size')}-{changing}"


BLOCK = 16
"""Images fetched at a time: enough to hide that each fetch waits, few enough to be kept."""


class BlockSource(StoredSource):
    """Encoded images, the last four blocks kept: threads that read in order fetch each once."""

    def __init__(self) -> None:
        """Keep no block yet."""
        self._lock = Lock()
        self._kept: deque[tuple[object, Sequence[bytes | ImageError]]] = deque(maxlen=4)

    @abstractmethod
    def _place(self, index: int) -> tuple[Any, int]:
        """The key of the block of one image, and its position there; IndexError beyond the last."""

    @abstractmethod
    def _fetch(self, key: Any) -> Sequence[bytes | ImageError]:
        """A block; called by one thread at a time."""

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Decode one image."""
        return decode_bytes(self.encoded(index), self.names[index])

    def reduced(self, index: int, least: int) -> npt.NDArray[Any]:
        """Decode one image, a JPEG at a reduced size."""
        return decode_bytes(self.encoded(index), self.names[index], least)

    def encoded(self, index: int) -> bytes:
        """What the file of one image would hold.

        Raises:
            ImageError: There is no such image.
            OSError: The block cannot be fetched, which says nothing of the image.
        """
        key, position = self._place(index)
        content = self._block(key)[position]
        if isinstance(content, ImageError):
            raise ImageError(*content.args)  # a fresh one, as a raised one holds on to its frames
        return content

    def _block(self, key: object) -> Sequence[bytes | ImageError]:
        with self._lock:
            for known, block in self._kept:
                if known == key:
                    return block
            block = self._fetch(key)
            self._kept.append((key, block))
            return block


class UrlSource(BlockSource):
    """Image files on one storage, some of which are fetched at once, as each keeps one waiting."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Keep the URLs; the files are fetched when asked for."""
        super().__init__()
        self.names = list(urls)

    def __reduce__(self) -> tuple[type[UrlSource], tuple[Sequence[str]]]:
        return UrlSource, (self.names,)

    def part(self, start: int, stop: int) -> UrlSource:
        """Some of the files."""
        return UrlSource(self.names[start:stop])

    def versions(self) -> list[str]:
        """Size, and tag or time, of each file as its folder lists it."""
        paths = [storage_of(url)[1] for url in self.names]
        storage = storage_of(self.names[0])[0]
        listed: dict[str, str] = {}
        for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
            with suppress(Exception):  # each storage has its own; not all of them can list
                entries = storage.ls(folder, detail=True)
                listed.update((entry["name"], version_of(entry)) for entry in entries)
        return [listed.get(path, "") for path in paths]

    def _place(self, index: int) -> tuple[int, int]:
        return divmod(range(len(self))[index], BLOCK)

    def _fetch(self, key: int) -> list[bytes | ImageError]:
        urls = self.names[key * BLOCK : (key + 1) * BLOCK]
        storage = storage_of(urls[0])[0]
        paths = [storage_of(url)[1] for url in urls]
        contents = storage.cat_ranges(paths, None, None, on_error="return")
        return [_content(*pair) for pair in zip(urls, contents, strict=True)]


def _content(url: str, content: bytes | Exception) -> bytes | ImageError:
    if isinstance(content, FileNotFoundError):
        return ImageError(url, "there is no such file", "check the URL")
    if isinstance(content, Exception):  # the connection or the credentials, not the image
        raise OSError(f"{url} cannot be read ({one_line(content)}); try again.") from content
    return content or ImageError(url, "the file is empty (0 bytes)", AGAIN)
