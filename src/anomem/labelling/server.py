"""The labelling page on this machine alone, behind a random address."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import HTMLResponse, JSONResponse

from anomem.images.listing import names_in_common
from anomem.labelling.rows import Answer
from anomem.labelling.session import Session
from anomem.report.heat import blended, resized
from anomem.report.page import template
from anomem.report.pictures import jpeg, within
from anomem.report.web import HEADERS, address, listening
from anomem.runtime.printing import printable

_HOST = "127.0.0.1"
_SIDE = 720
"""Longest side of a picture on the page, in pixels."""


def serve(session: Session, port: int) -> None:
    """Show the page until interrupted, printing its address first.

    Args:
        session: What is labelled.
        port: To listen on; 0 takes any that is free.
    """
    token = secrets.token_urlsafe(16)
    with listening(_HOST, port) as opened:
        print(f"{address(opened)}{token}/", flush=True)
        config = uvicorn.Config(make_app(session, token), log_level="error")
        uvicorn.Server(config).run(sockets=[opened])


def make_app(session: Session, token: str) -> FastAPI:
    """Build the application; every address begins with the token, and others are not found."""
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[_HOST, "localhost"])
    app.include_router(_routes(session), prefix=f"/{token}")

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(ValueError)
    @app.exception_handler(OSError)
    @app.exception_handler(RuntimeError)
    def refuse(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": printable(" ".join(str(error).split()))}, status_code=400)

    return app


def _routes(session: Session) -> APIRouter:
    routes = APIRouter()
    names = [printable(name) for name in names_in_common([str(file) for file in session.files])]
    page = template("anomem.labelling", "label.html")

    def known(index: int) -> int:
        if not 0 <= index < len(names):
            raise HTTPException(404, f"There is no image {index}.")
        return index

    @routes.get("/standing")
    def standing() -> dict[str, Any]:
        now = session.standing()
        shown = {
            name: None if index is None else _image_info(session, index, names[index])
            for name, index in (("next", now.next), ("last", now.last))
        }
        return {**asdict(now), **shown}

    @routes.get("/", response_class=HTMLResponse)
    def show() -> str:
        return page.render(
            answers=printable(str(session.answers.file)),
            out=printable(str(session.out)),
            errors=[printable(error) for error in session.errors],
        )

    @routes.post("/images/{index}/{answer}")
    def answer(index: int, answer: Answer) -> dict[str, Any]:
        session.answer(known(index), answer)
        return standing()

    @routes.post("/adapt")
    def adapt() -> dict[str, Any]:
        return {"left_out": [printable(error) for error in session.adapt()], **standing()}

    @routes.get("/images/{index}")
    def image(index: int) -> Response:
        shown = within(session.images[known(index)], _SIDE)
        return Response(jpeg(shown), media_type="image/jpeg")

    @routes.get("/images/{index}/heat")
    def heat(index: int) -> Response:
        shown = within(session.images[known(index)], _SIDE)
        shown = blended(shown, resized(session.heat_of(index), shown))
        return Response(jpeg(shown), media_type="image/jpeg")

    return routes


def _image_info(session: Session, index: int, name: str) -> dict[str, Any]:
    """An image as the page shows it."""
    score = float(session.score[index])
    called = "anomalous" if score > session.threshold else "normal"
    return {"index": index, "name": name, "score": score, "called": called}
