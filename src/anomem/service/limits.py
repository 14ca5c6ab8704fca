"""What a service takes: how much of a request, how many at a time, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Holds the limits of a service.

    Attributes:
        batch: Images from which on no more requests join those that are scored together.
        wait: Seconds that they wait at most, while no others are scored, until there are as many
            as there were lately.
        queue: Images that wait or are being scored, of each model; what comes beyond is refused.
        timeout: Seconds until a request must have arrived, and again until it must be answered.
        body: Bytes of a request.
        images: Images of a request.
    """

    batch: int = 32
    wait: float = 0.02
    queue: int = 256
    timeout: float = 30.0
    body: int = 64 * 2**20
    images: int = 64


class Busy(Exception):
    """Says that there is no room now.

    Attributes:
        seconds: After which asking again may help, at least 1.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("The service is busy.")
        self.seconds = max(1, round(seconds))


class Room:
    """Counts what all requests hold together, such as bytes; for one thread."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextmanager
    def held(self, count: int, wait: float = 1.0) -> Iterator[None]:
        """Hold so much; what is more than all of the room is let in alone.

        Raises:
            Busy: There is no room for it; ``wait`` is the seconds until there may be.
        """
        if self.taken and self.taken + count > self.most:
            raise Busy(wait)
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count
