"""Images on object storage, reached through fsspec."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Literal

from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from anomem.images.errors import AGAIN, ImageError
from anomem.images.listing import left_out, list_files, protocol_of
from anomem.images.source import EncodedSource, StoredSource
from anomem.runtime.untrusted import one_line

_CHANGING = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""What the storages of fsspec call what changes with a file, the surest first."""


def storage_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Open the file system of a URL, set up by fsspec's own configuration, and find the path there.

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
    """List the files that URLs of one storage stand for.

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
    opened = [storage_of(url) for url in urls]
    storage = _Remote(opened[0][0])
    wanted = storage.urls(path for _, path in opened)
    found = list_files(storage, wanted, tables=True)
    return found if found == wanted else list(dict.fromkeys(found))


class _Remote:
    """Files of one storage, by URL."""

    mend = "check the URL"

    def __init__(self, filesystem: AbstractFileSystem) -> None:
        self._filesystem = filesystem
        filesystem.invalidate_cache()  # or what was uploaded since the last listing is not seen

    def urls(self, paths: Iterable[str]) -> list[str]:
        return [str(self._filesystem.unstrip_protocol(path)) for path in paths]

    def kind(self, path: str) -> Literal["file", "folder"] | None:
        with suppress(FileNotFoundError), _telling(path):
            folder = self._filesystem.info(path)["type"] == "directory"
            return "folder" if folder else "file"
        return None

    def glob(self, pattern: str) -> list[str]:
        with suppress(FileNotFoundError), _telling(pattern):
            return self.urls(self._filesystem.glob(pattern))
        return []

    def files(self, folder: str) -> list[str]:
        with _telling(folder):
            found = self.urls(self._filesystem.find(folder))
        inside = len(folder.rstrip("/")) + 1
        return [url for url in found if not any(map(left_out, url[inside:].split("/")))]


@contextmanager
def _telling(url: str) -> Iterator[None]:
    """Tell in one sentence what a storage refuses."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # each storage has its own
        raise ValueError(
            f"{url} cannot be listed ({one_line(error)}); check the URL and the credentials."
        ) from error


def version_of(entry: Mapping[str, Any]) -> str:
    """Give what a storage says of a file that changes with its content: size, and tag or time."""
    changing = next((str(entry[name]) for name in _CHANGING if entry.get(name)), "")
    return f"{entry.get('size')}-{changing}"


BLOCK = 16
"""Images fetched at a time: enough to hide that each fetch waits, few enough to be kept."""


class BlockSource(EncodedSource, StoredSource):
    """Fetches stored images a block of neighbours at a time; threads that read in order share it.

    The last four blocks are kept.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: deque[tuple[object, Sequence[bytes | ImageError]]] = deque(maxlen=4)

    @abstractmethod
    def _locate(self, index: int) -> tuple[Any, int]:
        """The key of the block of one image, and its position there; IndexError beyond the last."""

    @abstractmethod
    def _fetch(self, key: Any) -> Sequence[bytes | ImageError]:
        """A block; called by one thread at a time."""

    def encoded(self, index: int) -> bytes:
        """Fetch what the file of one image would hold.

        Raises:
            ImageError: There is no such image.
            OSError: The block cannot be fetched, which says nothing of the image.
        """
        key, position = self._locate(index)
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
    """Fetches image files of one storage, some of them at once, as each keeps one waiting."""

    def __init__(self, urls: Sequence[str]) -> None:
        super().__init__()
        self.names = list(urls)

    def __reduce__(self) -> tuple[type[UrlSource], tuple[Sequence[str]]]:
        return UrlSource, (self.names,)

    def part(self, start: int, stop: int) -> UrlSource:
        """Choose some of the files."""
        return UrlSource(self.names[start:stop])

    def versions(self) -> list[str]:
        """Give size, and tag or time, of each file as its folder lists it."""
        paths = [storage_of(url)[1] for url in self.names]
        storage = storage_of(self.names[0])[0]
        listed: dict[str, str] = {}
        for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
            with suppress(Exception):  # each storage has its own; not all of them can list
                entries = storage.ls(folder, detail=True)
                listed.update((entry["name"], version_of(entry)) for entry in entries)
        return [listed.get(path, "") for path in paths]

    def _locate(self, index: int) -> tuple[int, int]:
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
