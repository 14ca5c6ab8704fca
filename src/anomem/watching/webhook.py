"""Lines of results sent to an address, each until it is taken, without holding up the scoring."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import httpx2
import stamina

from anomem.runtime.files import WriteError, write_text
from anomem.runtime.printing import tell

_LOOK = 0.1
"""Seconds between two looks at the file."""
_TIMEOUT = 10.0
_PAUSES = {"wait_initial": 0.5, "wait_max": 60.0, "wait_jitter": 1.0}
"""Seconds: twice as long after each attempt."""


class _Stopped(Exception):
    """It is time to end."""


class Webhook:
    """Sends each line of a file of results to an address, in order, and again until it is taken.

    How far it has come is kept beside the file, so that a later start goes on there: a line is sent
    once, or twice where the process was killed in between, and has its ``number`` to tell. Of a
    file that has never been sent what is written from now on is sent.

    Args:
        results: The file.
        url: To which lines are posted as JSON, http or https.

    Raises:
        ValueError: It is no such address, or how far it has come is not what the file says.
        WriteError: How far it has come cannot be kept.
    """

    def __init__(self, results: Path, url: str) -> None:
        try:
            self._url = httpx2.URL(url)
        except httpx2.InvalidURL:
            self._url = httpx2.URL()
        # The address may hold a secret, and is not told.
        self._host = self._url.host
        if self._url.scheme not in ("http", "https") or not self._host:
            raise ValueError("--webhook is no address; give one as https://host/path.")
        self._results, self._kept = results, results.with_name(f"{results.name}.sent")
        if not self._kept.exists():
            write_text(self._kept, f"{os.path.getsize(results)}\n")
        kept = self._kept.read_text(errors="replace").strip()
        if not kept.isdecimal():
            raise ValueError(
                f"{self._kept} does not say how far {results} has been sent; remove it, and what "
                "is written from then on is sent."
            )
        self._begin = int(kept)

    def run(self, stop: Event) -> None:
        """Send what is written until told to stop; what has not been taken then is sent later."""
        with self._results.open("rb") as lines, httpx2.Client(timeout=_TIMEOUT) as client:
            lines.seek(min(self._begin, os.path.getsize(self._results)))
            while True:
                ending, start = stop.is_set(), lines.tell()
                line = lines.readline()
                if line.endswith(b"\n"):
                    if not self._sent(client, line, stop):
                        return
                    self._keep(lines.tell())
                elif ending:
                    return
                else:
                    lines.seek(start)
                    stop.wait(_LOOK)

    def _sent(self, client: httpx2.Client, line: bytes, stop: Event) -> bool:
        """Send a line until it is taken or refused; False where it is time to end."""
        told = False

        def worth_it(error: Exception) -> bool:
            nonlocal told
            if isinstance(error, httpx2.HTTPStatusError):
                status = error.response.status_code
                if status < 500 and status not in (408, 425, 429):
                    return False
            elif not isinstance(error, httpx2.HTTPError):
                return False
            if not told:
                tell(f"anomem: {self._host} takes no lines now ({_why(error)}).", error=True)
            told = True
            return True

        try:
            for attempt in stamina.retry_context(worth_it, attempts=None, timeout=None, **_PAUSES):
                with attempt:
                    if told and stop.is_set():
                        raise _Stopped
                    headers = {"Content-Type": "application/json"}
                    client.post(self._url, content=line, headers=headers).raise_for_status()
        except _Stopped:
            return False
        except httpx2.HTTPStatusError as error:
            tell(f"anomem: {self._host} refuses a line ({_why(error)}).", error=True)
        return True

    def _keep(self, position: int) -> None:
        try:
            write_text(self._kept, f"{position}\n")
        except WriteError as error:  # as on a full disk; lines are sent on
            tell(f"anomem: {error}", error=True)


def _why(error: httpx2.HTTPError) -> str:
    """What came of a request, without the address that messages of errors hold."""
    if isinstance(error, httpx2.HTTPStatusError):
        return str(error.response.status_code)
    return type(error).__name__
