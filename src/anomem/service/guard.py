"""What stands before every route: the token, the host, the headers, and errors in one line."""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anomem.report.web import HEADERS
from anomem.runtime.printing import printable, tell
from anomem.runtime.untrusted import one_line
from anomem.service.engine import Failed
from anomem.service.limits import Busy
from anomem.service.metrics import Metrics

LOOPBACK = ("127.0.0.1", "::1", "localhost")
OPEN = ("/", "/page.js", "/page.css", "/v2/health/live", "/v2/health/ready")
"""Paths that need no token: they tell nothing of models or images."""


class Guard:
    """Lets in who knows the token, or, where there is none, who calls this machine by its name.

    Args:
        app: What is guarded.
        token: That a request must bear, or None: then the service listens on this machine alone,
            and a page of another site that has itself resolved to it is refused.
        metrics: That count the answers.
    """

    def __init__(self, app: ASGIApp, token: str | None, metrics: Metrics) -> None:
        self._app, self._token, self._metrics = app, token, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.answered(route, message["status"], time.monotonic() - begun)
            await send(message)

        refused = self._refused(Request(scope))
        await (refused or self._app)(scope, receive, answer)

    def _refused(self, request: Request) -> JSONResponse | None:
        headers = request.headers
        if self._token is None:
            host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
            if host.strip("[]") not in LOOPBACK:
                return told(403, "This service is for this machine alone; call it 127.0.0.1.")
            cross = headers.get("sec-fetch-site") == "cross-site"
            if cross and request.url.path not in OPEN:  # a link to the page may lie anywhere
                return told(403, "This service is not for pages of other sites.")
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        known = secrets.compare_digest(given.strip().encode(), self._token.encode())
        if request.url.path in OPEN or (scheme.lower() == "bearer" and known):
            return None
        problem = "The token is missing or wrong; send it as Authorization: Bearer TOKEN."
        return told(401, problem, {"WWW-Authenticate": "Bearer"})


_POLICY = HEADERS["Content-Security-Policy"].replace(" 'unsafe-inline'", "")
_HEADERS = [
    (name.lower().encode(), value.encode())
    for name, value in (HEADERS | {"Content-Security-Policy": _POLICY}).items()
]


def told(status: int, problem: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Answer with an error of one line."""
    return JSONResponse({"error": printable(problem)}, status, headers)


def tell_errors(app: FastAPI) -> None:
    """Let every error be an answer of one line that tells nothing of the machine."""

    @app.exception_handler(AnyHTTPException)
    def refused(_: Request, error: AnyHTTPException) -> JSONResponse:
        return told(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def misunderstood(_: Request, error: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return told(422, f"{one_line(where)}: {one_line(first['msg'])}.")

    @app.exception_handler(Busy)
    def busy(_: Request, error: Busy) -> JSONResponse:
        problem = f"The service is busy; ask again in {error.seconds} s."
        return told(429, problem, {"Retry-After": str(error.seconds)})

    @app.exception_handler(TimeoutError)
    def late(_: Request, __: TimeoutError) -> JSONResponse:
        return told(504, "There was no answer in time; ask again, or with fewer images.")

    @app.exception_handler(Failed)
    def failed(_: Request, error: Failed) -> JSONResponse:
        tell(f"anomem: {one_line(error)}", error=True)
        return broken(_, error)

    @app.exception_handler(Exception)
    def broken(_: Request, __: Exception) -> JSONResponse:
        return told(500, "The service failed on this request; its log says why.")
