"""Images that have arrived in a folder, each when it is whole."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from watchfiles import Change, watch
from watchfiles._rust_notify import WatchfilesRustInternalError
from watchfiles.main import FileChange

from anomem.images.listing import IMAGE_SUFFIXES, left_out
from anomem.images.local import version_of_file

if sys.platform == "linux":
    import fcntl

_UNCHANGED = 2.0
"""Seconds for which a file must be as it is, where it cannot be told whether it is written to and
where it cannot be decoded."""
_HELD = 30.0
"""The same of one that is open for writing: a writer may keep open what it has long finished."""
_LOOK = 20
"""Milliseconds between two looks at files that are written to: nothing tells when they close."""
_SEARCH = 5.0
"""Seconds between two searches of the whole folder, for files of which nothing was told."""
_SHARE_OF_TIME = 0.02
"""That searches may take."""


@dataclass
class _Waiting:
    """A file that may not be whole: its size and time, and since when it has them."""

    version: str = ""
    since: float = 0.0


class Arrivals:
    """Finds the images that appear in a folder and below it, and waits until they are whole.

    A file is whole when nobody has it open for writing, which Linux tells the owner of the file,
    and elsewhere when it has not changed for two seconds. Hidden files and those of other suffixes
    are passed by, as files are often named while they are copied.

    Args:
        folder: Watched with the folders in it.
        is_new: Tells of a file and its version (size and time) whether it is wanted.
    """

    def __init__(self, folder: Path, is_new: Callable[[Path, str], bool]) -> None:
        self._folder = folder.resolve()
        self._is_new = is_new
        self._waiting: dict[Path, _Waiting] = {}
        self._tried: dict[Path, str] = {}
        self._next_search = 0.0

    def batches(self, stop: Event) -> Iterator[list[Path]]:
        """Yield the files that have become whole, the oldest first, until told to stop.

        Raises:
            OSError: The folder is gone.
        """
        for changes in self._changes(stop):
            for change, name in changes:
                if change is not Change.deleted:
                    self.take(Path(name))
            if time.monotonic() >= self._next_search:
                self._search()
            if ready := self._whole():
                yield ready

    def _changes(self, stop: Event) -> Iterator[set[FileChange]]:
        """Yield what the system tells of; a name that is no UTF-8 is only found by a search."""
        while not stop.is_set():
            try:
                yield from watch(
                    self._folder,
                    watch_filter=None,
                    step=5,
                    debounce=_LOOK,
                    rust_timeout=_LOOK,
                    yield_on_timeout=True,
                    stop_event=stop,
                    ignore_permission_denied=True,
                )
            except WatchfilesRustInternalError:
                self._next_search = 0
                yield set()

    def take(self, path: Path) -> None:
        """Wait until a file is whole, if it is an image."""
        if path.is_dir():
            self._next_search = 0  # of what was in it when it came nothing is told
            return
        hidden = any(map(left_out, path.relative_to(self._folder).parts))
        if path.suffix.lower() in IMAGE_SUFFIXES and not hidden:
            self._waiting.setdefault(path, _Waiting())

    def again(self, path: Path, version: str) -> bool:
        """Yield a file that cannot be decoded once more: it may be written in several goes.

        Returns:
            False where it has been yielded again, and is as it was.
        """
        if self._tried.pop(path, None) == version:
            return False
        self._tried[path] = version
        self._waiting[path] = _Waiting(version, time.monotonic())
        return True

    def _search(self) -> None:
        """Take all files that are there, as at first, and later those of which nothing was told."""
        begun = time.monotonic()
        if not self._folder.is_dir():
            raise OSError(f"{self._folder}: the folder is gone; make it and start again.")
        for root, folders, names in os.walk(self._folder):
            folders[:] = [name for name in folders if not left_out(name)]
            for path in (Path(root, name) for name in names):
                if path.suffix.lower() in IMAGE_SUFFIXES and self._is_new(
                    path, version_of_file(str(path))
                ):
                    self.take(path)
        ended = time.monotonic()
        self._next_search = ended + max(_SEARCH, (ended - begun) / _SHARE_OF_TIME)

    def _whole(self) -> list[Path]:
        """The files that wait no longer."""
        ready: list[tuple[int, Path]] = []
        for path, waiting in list(self._waiting.items()):
            version, now = version_of_file(str(path)), time.monotonic()
            if not version or not self._is_new(path, version):
                del self._waiting[path]
                continue
            if version != waiting.version:
                waiting.version, waiting.since = version, now
            pause = _UNCHANGED if path in self._tried else _pause(path)
            if now - waiting.since >= pause:
                del self._waiting[path]
                ready.append((int(version.rpartition("-")[2]), path))
        return [path for _, path in sorted(ready)]


def _pause(path: Path) -> float:
    """For how many seconds a file must not have changed to be whole."""
    if sys.platform != "linux":
        return _UNCHANGED
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # why it cannot be read is told when it is read
        return _UNCHANGED
    try:
        # A lease is given where nobody has the file open for writing.
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return _HELD
    except OSError:  # another user's file, or a storage without leases
        return _UNCHANGED
    else:
        return 0.0
    finally:
        os.close(descriptor)
