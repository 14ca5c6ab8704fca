"""The memory that decoding may take, shared by all threads of the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local

from anomem.images.opening import ImageError

GIGABYTE = 10**9
DEFAULT = 0.9
"""Gigabytes, so that with what comes before and after decoding a file takes no more than one."""


class Budget:
    """Bytes that decoding may take, of all threads together.

    A thread that holds none waits until what it asks for is free. One that holds some does not, as
    two that waited for one another would wait for ever.

    Attributes:
        limit: Bytes in all. An image that takes more alone is refused.
    """

    def __init__(self, limit: int) -> None:
        """Of a limit in bytes."""
        self.limit = limit
        self._taken = 0
        self._changed = Condition()
        self._own = local()

    @contextmanager
    def held(self) -> Iterator[None]:
        """What this thread takes inside is given back at the end; of nested ones, the outermost."""
        if getattr(self._own, "taken", None) is not None:
            yield
            return
        self._own.taken = 0
        try:
            yield
        finally:
            with self._changed:
                self._taken -= self._own.taken
                self._own.taken = None
                self._changed.notify_all()

    def take(self, count: int, name: str) -> None:
        """Take bytes for an image, within :meth:`held`.

        Raises:
            ImageError: It needs more than there are in all.
        """
        if count > self.limit:
            raise ImageError(
                name,
                f"decoding it takes {count / GIGABYTE:.2g} GB of memory and the limit is "
                f"{self.limit / GIGABYTE:.2g} GB",
                "crop it, or give more by --decode-memory",
            )
        with self._changed:
            while not self._own.taken and self._taken and self._taken + count > self.limit:
                self._changed.wait()
            self._taken += count
            self._own.taken += count


BUDGET = Budget(int(DEFAULT * GIGABYTE))
"""Of this process."""


def allow(gigabytes: float) -> None:
    """Let decoding take so many gigabytes, in all threads of this process together.

    Raises:
        ValueError: It is not above 0.
    """
    if not gigabytes > 0:
        raise ValueError(f"{gigabytes:g} GB is no memory to decode in; give more than 0.")
    BUDGET.limit = int(gigabytes * GIGABYTE)
