"""Files that appear whole or not at all, and the trial before the work that they can."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from anomem.runtime.printing import encoded

if sys.platform != "win32":
    import fcntl

_PART = re.compile(r"\.anomem-[0-9a-f]{16}\.tmp")
_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class WriteError(OSError):
    """Names an output that cannot be written, in one sentence."""


@contextmanager
def named_if_unwritten(file: Path) -> Iterator[None]:
    """Tell in one sentence what comes of writing a file or a folder.

    Raises:
        WriteError: For any error of the system inside; one that is told already stays as it is.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        free = "free some space or " * (error.errno in _FULL)
        raise WriteError(
            f"{file} cannot be written ({reason}); {free}give another path."
        ) from error


@contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Open a file to write, which takes its name, and an older one's, once it is whole.

    Until then it lies beside under a name of its own, so neither a kill, a full disk nor another
    process that writes the same file can spoil it. The folder is made where it is missing. A link
    is followed, and a device or a pipe written to as it is.

    Yields:
        The file, open.

    Raises:
        WriteError: It cannot be written; the older one is as it was.
    """
    with named_if_unwritten(file):
        target = _target(file)
        if _is_stream(target):
            with target.open("wb") as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part(target.parent) as (name, part):
            if target.exists():
                os.chmod(name, stat.S_IMODE(target.stat().st_mode))
            yield part
            part.flush()
            os.fsync(part.fileno())
            if sys.platform == "win32":
                part.close()  # nothing that is open can be renamed there
            os.replace(name, target)
        _sync(target.parent)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Make a folder of files, which takes its name, and an older one's, once all are written.

    Until then it lies beside under a name of its own. On Linux the two change names in one step;
    elsewhere, and on file systems that cannot, a reader may find neither for a moment.

    Yields:
        The folder, empty, to be filled.

    Raises:
        WriteError: It cannot be written; the older one is as it was.
    """
    with named_if_unwritten(folder):
        target = Path(os.path.realpath(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent)
        part = target.with_name(f".anomem-{secrets.token_hex(8)}.tmp")
        part.mkdir()
    with _locked_folder(part):
        yield part
        with named_if_unwritten(folder):
            older = target.with_name(f".anomem-{secrets.token_hex(8)}.tmp")
            if not (target.exists() and _exchanged(part, target)):
                if target.exists():
                    os.rename(target, older)
                os.rename(part, target)
            _sync(target.parent)
            shutil.rmtree(older, ignore_errors=True)


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, see :func:`replacing`."""
    with replacing(file) as part:
        part.write(content)


def write_text(file: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all, see :func:`replacing`."""
    write_bytes(file, encoded(text))


def try_file(file: Path) -> None:
    """Try before the work whether a file can be written after it; nothing is left or changed.

    Raises:
        WriteError: It cannot.
    """
    with named_if_unwritten(file):
        target = _target(file)
        if not _is_stream(target):
            _try(target.parent, target.name)


def try_folder(folder: Path) -> None:
    """Try before the work whether files can be written in a folder, see :func:`try_file`.

    Raises:
        WriteError: They cannot.
    """
    with named_if_unwritten(folder):
        _try(Path(os.path.realpath(folder)))


def locked(descriptor: int, *, wait: bool) -> bool:
    """Take the lock of an open file or folder until it is closed, and tell whether it could be."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another process, or the file system has no locks
        return False
    return True


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, and remove it in the end if it is still there."""
    descriptor = None
    try:
        if sys.platform != "win32":  # where no folder can be opened, nor renamed while it is
            descriptor = os.open(folder, os.O_RDONLY)
            locked(descriptor, wait=True)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _target(file: Path) -> Path:
    """The file behind all links; it may be missing.

    Raises:
        WriteError: It is a folder.
        OSError: This user may not write it, or it cannot be reached.
    """
    target = Path(os.path.realpath(file))
    try:
        status = target.stat()
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(status.st_mode):
        raise WriteError(f"{file} is a folder; give the name of a file.")
    if stat.S_ISREG(status.st_mode):
        # Replacing a file asks nothing of it; who has made it read-only wants to keep it.
        os.close(os.open(target, os.O_WRONLY))
    return target


def _is_stream(target: Path) -> bool:
    """A device, a pipe or a socket; what was never there is none."""
    return target.exists() and not target.is_file()


@contextmanager
def _part(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file in a folder under a name of its own, locked, and gone if it is not renamed."""
    while True:
        file = folder / f".anomem-{secrets.token_hex(8)}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(file, flags, 0o666)
        locked(descriptor, wait=True)
        if file.exists():  # else another process took it for abandoned before it was locked
            break
        os.close(descriptor)
    try:
        with open(descriptor, "w+b") as part:
            yield file, part
    finally:
        file.unlink(missing_ok=True)


def _try(folder: Path, *names: str) -> None:
    """Write a page of bytes where the folder will be, and ask for each name that is missing."""
    missing = list(names)
    while not folder.exists():
        missing.append(folder.name)
        folder = folder.parent
    for name in missing:
        with suppress(FileNotFoundError):
            os.lstat(folder / name)  # tells a name that is too long
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder")
    remove_abandoned(folder)
    with _part(folder) as (_, part):
        part.write(bytes(4096))


def remove_abandoned(folder: Path) -> None:
    """Remove the parts that killed processes have left in a folder: nobody holds their locks."""
    with suppress(OSError):  # who may write in a folder need not be allowed to list it
        for name in filter(_PART.fullmatch, os.listdir(folder)):
            with suppress(OSError):
                part = folder / name
                descriptor = os.open(part, os.O_RDONLY if part.is_dir() else os.O_RDWR)
                try:
                    if locked(descriptor, wait=False) and part.is_dir():
                        shutil.rmtree(part)
                    elif locked(descriptor, wait=False):
                        os.unlink(part)
                finally:
                    os.close(descriptor)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; tell whether the system could."""
    import ctypes

    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    done: int = call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return done == 0


def _sync(folder: Path) -> None:
    """See that a name in a folder survives a power cut."""
    with suppress(OSError):  # not all file systems can, and what is written is written
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
