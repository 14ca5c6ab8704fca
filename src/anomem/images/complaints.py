"""What image libraries say beside their errors: counted, and told in one line."""

from __future__ import annotations

import ctypes
import logging
import re
from collections import Counter
from collections.abc import Iterable
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
    """What was heard since this was last asked, as a sentence; None where nothing was."""
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

    def __init__(self, library: str) -> None:
        super().__init__()
        self._library = library

    def emit(self, _: logging.LogRecord) -> None:
        """Count one."""
        heard(self._library)


def _libtiff_spoke(*_: object) -> None:
    heard("libtiff")


_LIBTIFF_SPOKE = _HANDLER(_libtiff_spoke)  # must outlive the library


def count_noise() -> None:
    """Count what tifffile logs and what libtiff, from C, writes to standard error."""
    logging.getLogger("tifffile").addHandler(_Counting("tifffile"))
    for file in _loaded("libtiff"):
        library = ctypes.CDLL(file)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            setter = getattr(library, name, None)
            if setter is not None:
                setter.restype, setter.argtypes = ctypes.c_void_p, [_HANDLER]
                setter(_LIBTIFF_SPOKE)


def _loaded(name: str) -> Iterable[str]:
    """The shared libraries of a name in this process; none where the system does not say."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return ()
    return sorted(set(re.findall(rf"(/\S*/{name}[-.]\S*)$", maps.read_text(), re.MULTILINE)))
