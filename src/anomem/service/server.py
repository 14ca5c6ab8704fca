"""The service on an address, from its start to its end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import h11
import uvicorn
from fastapi import FastAPI, Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

import anomem
from anomem.report.web import address, listening
from anomem.runtime.untrusted import check_regular, one_line
from anomem.service import open_inference, plain, standing
from anomem.service.guard import LOOPBACK, Guard, tell_errors
from anomem.service.service import Service

TOKEN = "ANOMEM_TOKEN"
"""Variable of the environment that may hold the token."""
_SHORTEST = 16
"""Characters of a token."""
_CONNECTIONS = 512
_LINGERS = 2.0
"""Seconds in which what a client still sends is read and dropped, so that it reads the answer."""
_PAGE = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}


def serve(service: Service, host: str, port: int, token: str | None) -> None:
    """Serve until SIGTERM or SIGINT, printing the address first; what is taken is answered.

    Args:
        service: What is served.
        host: Address to listen on.
        port: To listen on; 0 takes any that is free.
        token: That requests must bear; None only where the address is of this machine alone.
    """
    limits = service.limits

    class Hurried(Patient):
        seconds = limits.timeout

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # who sends a bad form is told
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has ended
    with listening(host, port) as opened, suppress(KeyboardInterrupt):
        print(address(opened), flush=True)
        config = uvicorn.Config(
            make_app(service, token),
            http=Hurried,
            ws="none",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=2 * int(limits.timeout) + 1,
        )
        uvicorn.Server(config).run(sockets=[opened])


def make_app(service: Service, token: str | None) -> ASGIApp:
    """Build the application."""
    app = FastAPI(
        title="AnoMem",
        version=anomem.__version__,
        description="Image anomaly detection: scores, p-values, verdicts and heat maps.",
        docs_url=None,
        redoc_url=None,
        lifespan=service.running,
    )
    for routes in (plain.routes, standing.routes, open_inference.routes):
        app.include_router(routes(service))
    tell_errors(app)
    for name, kind in _PAGE.items():
        _add_file(app, name, kind)
    return Guard(app, token, service.metrics)


def _add_file(app: FastAPI, name: str, kind: str) -> None:
    content = files("anomem.service").joinpath("page", name or "page.html").read_bytes()

    @app.get(f"/{name}", include_in_schema=False)
    def show() -> Response:
        return Response(content, media_type=kind)


def token_for(host: str, file: Path | None) -> str | None:
    """Read the token of a service from a file, or else from the environment.

    Raises:
        ValueError: It is too short, or there is none and others reach the address.
    """
    if file is None:
        token = os.environ.get(TOKEN, "").strip()
    else:
        try:
            check_regular(file)
            token = file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or one_line(error)
            raise ValueError(f"{file} cannot be read ({why}); give a file of a token.") from error
    if not token:
        if file is not None:
            raise ValueError(f"{file} is empty; write a token into it.")
        if host not in LOOPBACK:
            raise ValueError(
                f"others reach {host} and there is no token; give one in --token-file or {TOKEN}."
            )
        return None
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
        raise ValueError(f"the token must be {_SHORTEST} printable ASCII characters or more.")
    return token


class Patient(H11Protocol):
    """Ends a connection, in one line, that speaks no HTTP or is too slow.

    It waits for heads, and for what is left of a refused body.
    """

    seconds = 30.0
    _timer: asyncio.TimerHandle | None = None
    _over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on while there is nothing to answer."""
        if self._over:
            return
        super().data_received(data)
        if self._over or self.transport.is_closing():
            return
        if self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE:
            self._stop()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        super().connection_lost(exc)

    def send_400_response(self, _: str) -> None:
        """Answer what is no HTTP, or a head that is too long."""
        self._end("400 Bad Request", "This is no HTTP request, or its head is too long.")

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._end("408 Request Timeout", "The request took too long to arrive; send it faster.")

    def _end(self, status: str, problem: str) -> None:
        """Answer and close, a little later: what is still sent must not undo the answer."""
        self._stop()
        if self._over or self.transport.is_closing():
            return
        self._over = True
        if self.cycle is not None:  # who still reads the body learns that there is no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        error = json.dumps({"error": problem})
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(error)}\r\n"
        kind = "Content-Type: application/json\r\nConnection: close\r\n\r\n"
        self.transport.write((head + kind + error).encode())
        self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGERS, self.transport.close)
