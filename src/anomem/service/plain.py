"""The plain routes that look at images: score and explain."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict

from anomem.images.source import BytesSource
from anomem.report.heat import blended, layer, resized
from anomem.report.pictures import data_uri, in_colours, within
from anomem.service.served import Judged, Loaded, finite, nothing_read
from anomem.service.service import PROBLEMS, Service, by
from anomem.service.uploads import body_of, images_of

_SIDE = 720
"""Longest side of a picture, in pixels."""
_BINARY = {"type": "string", "format": "binary"}
_ONE = {"image/*": {"schema": _BINARY}}
_FORM = {"type": "object", "properties": {"images": {"type": "array", "items": _BINARY}}}
_EXAMPLE: dict[str, Any] = {
    "name": "007.png",
    "score": 3.1,
    "p_value": 0.01,
    "prediction": 1,
    "verdict": "anomalous",
    "scale_scores": [2.2, 3.4],
    "error": None,
}


class ImageScore(BaseModel):
    """Says what one image scores or, where it cannot be read, why."""

    name: str
    score: float | None
    p_value: float | None
    prediction: int | None
    verdict: str
    scale_scores: list[float] | None
    error: str | None


class Scored(BaseModel):
    """Says what the images of a request score, and by which model."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "bottle",
                "revision": "0badcafe0bad",
                "rule": "0.05",
                "threshold": 1.7,
                "images": [_EXAMPLE],
            }
        }
    )
    model: str
    revision: str
    rule: str
    threshold: float
    images: list[ImageScore]


class Explained(BaseModel):
    """Says why one image has its score."""

    model: str
    revision: str
    rule: str
    threshold: float
    image: ImageScore
    height: int
    width: int
    places: list[dict[str, Any]]
    picture: str
    heat: str


def routes(service: Service) -> APIRouter:
    """Make the routes."""
    router = APIRouter(responses=PROBLEMS)

    @router.post("/v1/score", response_model=Scored, openapi_extra=_body(_FORM))
    async def score(request: Request, model: str | None = None, name: str = "image") -> Response:
        """Score one image (the body, called ``name``) or several (a form of files)."""
        engine = service.engine(model)
        async with body_of(request, service.limits, service.bytes) as body:
            images = await images_of(body, request, service.limits, name)
            loaded, judged = await engine.score(images)
        if problem := nothing_read(judged):
            raise HTTPException(400, problem)
        told = [_told(each) for each in judged]
        return JSONResponse({**by(engine.served.name, loaded), "images": told})

    @router.post(
        "/v1/explain",
        response_model=Explained,
        responses={200: {"content": {"image/png": {}}}},
        openapi_extra=_body(),
    )
    async def explain(request: Request, model: str | None = None, name: str = "image") -> Response:
        """Explain one image: JSON, or, where a PNG is accepted, the image below its heat map."""
        engine = service.engine(model)
        as_picture = "image/png" in request.headers.get("accept", "")
        async with body_of(request, service.limits, service.bytes) as body:
            images = await images_of(body, request, service.limits, name)
            if len(images) > 1:
                raise HTTPException(400, "The request holds several images; explain one at a time.")
            loaded, (judged,) = await engine.score(images)
            if judged.error is not None:
                raise HTTPException(400, judged.error)
            if as_picture:
                return Response(
                    await engine.ask(lambda: _overlay(loaded, images)), 200, None, "image/png"
                )
            why = await engine.ask(lambda: _explanation(loaded, images))
        told = {**by(engine.served.name, loaded), "image": _told(judged), **why}
        return JSONResponse(told)

    return router


def _body(form: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of a request, for its description."""
    several = {} if form is None else {"multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": {**_ONE, **several}}}


def _told(judged: Judged) -> dict[str, Any]:
    read = judged.error is None
    return {
        "name": judged.name,
        "score": finite(judged.score),
        "p_value": judged.p_value if read else None,
        "prediction": int(judged.anomalous) if read else None,
        "verdict": judged.verdict,
        "scale_scores": list(judged.scale_scores) if read else None,
        "error": judged.error,
    }


def _overlay(loaded: Loaded, images: BytesSource) -> bytes:
    """The image below its heat map, a PNG of its size."""
    (heat,) = loaded.model.heat_maps(images)
    return _png(blended(in_colours(images[0]), heat))


def _explanation(loaded: Loaded, images: BytesSource) -> dict[str, Any]:
    """Where the image is odd, as pictures that fit a page, and what it is compared with."""
    pixels = images[0]
    why = loaded.model.explain(images)
    shown = within(pixels, _SIDE)
    return {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "places": [_place(place) for place in why.odd],
        "picture": data_uri(shown),
        "heat": _uri(_png(layer(resized(why.heat, shown)))),
    }


def _place(place: Any) -> dict[str, Any]:
    """A place, and the normal that it should look like: its name alone, and its pixels."""
    told = {"box": asdict(place.box), "scale": place.scale, "distance": place.distance}
    normal = None
    if place.normal_image is not None and place.normal_box is not None:
        box = place.normal_box
        near = place.normal_image[box.top : box.top + box.height, box.left : box.left + box.width]
        normal = data_uri(within(near, _SIDE // 4))
    name = None if place.origin is None else place.origin.image.replace("\\", "/")
    return {**told, "normal": name and name.rpartition("/")[2], "normal_picture": normal}


def _png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "png")
    return file.getvalue()


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
