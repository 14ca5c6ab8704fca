"""The error that tells what is wrong with an image, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from anomem.runtime.untrusted import one_line

AGAIN = "remove it or export it again"


class ImageError(ValueError):
    """Says why an image cannot be read, and what to do, in one sentence.

    Attributes:
        name: The file, or "image 3".
        reason: What is wrong with it.
        mend: What to do about it.
    """

    def __init__(self, name: str, reason: str, mend: str) -> None:
        super().__init__(name, reason, mend)
        self.name, self.reason, self.mend = name, reason, mend

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}; {self.mend}."


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turn whatever is raised for an image inside into an error that names it.

    But an ``OSError`` passes, as it says that the storage does not answer, and not what is wrong
    with the image.

    Raises:
        ImageError: Something was raised that is no ``OSError``.
    """
    try:
        yield
    except (ImageError, OSError):
        raise
    except Exception as error:
        # PyTorch tells of memory in a page.
        of_memory = isinstance(error, MemoryError) or "allocate memory" in str(error)
        reason = "there is not enough memory" if of_memory else one_line(error)
        mend = "remove it or crop it"
        raise ImageError(name, f"the image cannot be used ({reason})", mend) from error


def times(shape: Sequence[int]) -> str:
    """Write a shape as it is told: 4 x 3."""
    return " x ".join(map(str, shape)) or "()"
