"""What image libraries say beside their errors: counted, and told in one line."""

from __future__ import annotations

import ctypes
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from threading import Lock

_LOCK = Lock()
_HEARD: Counter[str] = Counter()
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


def heard(library: str, times: int = 1) -> None:
    """Count what a library said."""
    if times:
        with _LOCK:
            _HEARD[library] += times


def told() -> str | None:
    """Say what was heard since this was last asked, in a sentence; None where nothing was."""
    with _LOCK:
        found = ", ".join(f"{library} {count}" for library, count in sorted(_HEARD.items()))
        _HEARD.clear()
    if not found:
        return None
    return (
        f"image libraries complained of files (lines: {found}); what cannot be read has an error "
        "of its own."
    )


class _Counting(logging.Handler):
    """Counts records; being there keeps Python from writing them to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        heard("tifffile" if record.name == "tifffile" else "Pillow")


def _libtiff_spoke(*_: object) -> None:
    heard("libtiff")


_COUNTING = _Counting()
_LOGGERS = [logging.getLogger(name) for name in ("tifffile", "PIL.TiffImagePlugin")]
_LIBTIFF_SPOKE = _HANDLER(_libtiff_spoke)  # kept, as C may call it


class _Listening:
    """Hears, while some thread listens, what is said of a TIFF file.

    That is what tifffile and Pillow log and libtiff, from C, would write. libtiff has one handler
    of errors and one of warnings for the whole process: the first thread to listen puts ours in
    their place, and the last one puts back those that were there.
    """

    def __init__(self) -> None:
        self._lock, self._threads = Lock(), 0
        self._earlier: list[tuple[Callable[..., int | None], int | None]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                for logger in _LOGGERS:
                    logger.addHandler(_COUNTING)
                self._earlier = [(set_, set_(_LIBTIFF_SPOKE)) for set_ in _setters()]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                for logger in _LOGGERS:
                    logger.removeHandler(_COUNTING)
                for set_, earlier in self._earlier:
                    set_(earlier)


LISTENING = _Listening()
"""To be entered around what tifffile, libtiff and Pillow do with a TIFF file."""


@cache
def _setters() -> list[Callable[..., int | None]]:
    """The functions of libtiff that set a handler and give the one before it."""
    found = []
    for file in _loaded("libtiff"):
        library = ctypes.CDLL(file)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            if (setter := getattr(library, name, None)) is not None:
                setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
                found.append(setter)
    return found


def _loaded(name: str) -> Iterable[str]:
    """The shared libraries of a name in this process; none where the system does not say."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return ()
    return sorted(
        set(
            re.findall(
                rf"(/\S*/{name}[-.]\S*)$", maps.read_text("utf-8", "surrogateescape"), re.MULTILINE
            )
        )
    )
