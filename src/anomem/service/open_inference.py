"""The routes of the Open Inference Protocol (version 2), as KServe and Triton clients speak it."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

import anomem
from anomem.images.arrays import ArraySource
from anomem.images.decode_memory import size_problem
from anomem.images.source import BytesSource, ImageSource
from anomem.runtime.printing import printable
from anomem.runtime.untrusted import one_line
from anomem.service.engine import Engine
from anomem.service.served import nothing_read
from anomem.service.service import PROBLEMS, Service
from anomem.service.uploads import body_of

_HEAD = "Inference-Header-Content-Length"
_INPUTS = [
    {"name": "image", "datatype": "BYTES", "shape": [-1]},
    {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, -1]},
]
"""Of which a request has one: files as they are, or N x H x W x 1 or 3."""
_OUTPUTS = {
    "pred_score": ("FP32", [-1]),
    "pred_label": ("BOOL", [-1]),
    "p_value": ("FP64", [-1]),
    "anomaly_map": ("FP32", [-1, -1, -1]),
}
_TYPES = {"FP32": "<f4", "FP64": "<f8", "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2"}
_EXAMPLE = {
    "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [9, 8, 9, 8]}]
}


class Tensor(BaseModel):
    """Holds an input: its values in ``data``, or behind the JSON of the request."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Wanted(BaseModel):
    """Names an output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Inference(BaseModel):
    """Holds a request."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[Wanted] = []


def routes(service: Service) -> APIRouter:
    """Make the routes under ``/v2``."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @router.get("")
    def about() -> dict[str, Any]:
        return {
            "name": "anomem",
            "version": anomem.__version__,
            "extensions": ["binary_tensor_data"],
        }

    @router.get("/health/live")
    def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", responses=PROBLEMS)
    def ready() -> dict[str, bool]:
        if not service.ready:
            raise HTTPException(503, "The service has stopped scoring; start it again.")
        return {"ready": True}

    @router.get("/models/{name}", responses=PROBLEMS)
    def model(name: str) -> dict[str, Any]:
        engine = service.engine(name)
        return {
            "name": name,
            "versions": [engine.served.now.revision],
            "platform": "anomem",
            "inputs": _INPUTS,
            "outputs": [
                {"name": output, "datatype": kind, "shape": shape}
                for output, (kind, shape) in _OUTPUTS.items()
            ],
        }

    @router.get("/models/{name}/ready", responses=PROBLEMS)
    def model_ready(name: str) -> dict[str, Any]:
        service.engine(name)
        return {"name": name, **ready()}

    @router.post(
        "/models/{name}/infer",
        responses=PROBLEMS,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"type": "object", "required": ["inputs"]},
                        "example": _EXAMPLE,
                    }
                },
            }
        },
    )
    async def infer(name: str, request: Request) -> Response:
        engine = service.engine(name)
        async with body_of(request, service.limits, service.bytes) as body:
            try:
                asked, images = _read(body, request.headers, service.limits.images)
            except (ValueError, RecursionError) as error:
                raise HTTPException(400, f"{one_line(error)}.") from error
            return await _answer(engine, asked, images)

    return router


async def _answer(engine: Engine, asked: Inference, images: ImageSource) -> Response:
    model, judged = await engine.score(images)
    if problem := next((each.error for each in judged if each.error), nothing_read(judged)):
        raise HTTPException(400, problem)
    names = [output.name for output in asked.outputs] or ["pred_score", "pred_label", "p_value"]
    found: dict[str, Any] = {
        "pred_score": [each.score for each in judged],
        "pred_label": [each.anomalous for each in judged],
        "p_value": [each.p_value for each in judged],
    }
    if "anomaly_map" in names:
        maps = await engine.ask(lambda: list(model.model.heat_maps(images)), len(images))
        if len({each.shape for each in maps}) > 1:
            raise HTTPException(400, "The images differ in size; ask for the map of one at a time.")
        found["anomaly_map"] = maps
    in_bytes = asked.parameters.get("binary_data_output", False)
    binary = {o.name for o in asked.outputs if o.parameters.get("binary_data", in_bytes)}
    outputs, behind = [], []
    for name in names:
        kind = _OUTPUTS[name][0]
        values = np.asarray(found[name], _TYPES[kind])
        output = {"name": name, "datatype": kind, "shape": list(values.shape)}
        if name in binary or (in_bytes and not asked.outputs):
            behind.append(values.tobytes())
            outputs.append({**output, "parameters": {"binary_data_size": len(behind[-1])}})
        else:
            outputs.append({**output, "data": values.ravel().tolist()})
    told = {"model_name": engine.served.name, "model_version": model.revision, "outputs": outputs}
    if asked.id is not None:
        told["id"] = asked.id
    if not behind:
        return JSONResponse(told)
    head = json.dumps(told).encode()
    return Response(
        b"".join([head, *behind]),
        media_type="application/octet-stream",
        headers={_HEAD: str(len(head))},
    )


def _read(body: bytes, headers: Mapping[str, str], most: int) -> tuple[Inference, ImageSource]:
    """What is asked, and the images that it is asked of.

    Raises:
        ValueError: The request does not say it as the protocol has it.
    """
    size = headers.get(_HEAD, str(len(body)))
    if not size.isdecimal() or int(size) > len(body):
        raise ValueError(f"{_HEAD} is no number of bytes of the body")
    try:
        asked = Inference.model_validate_json(body[: int(size)])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(": ".join(filter(None, (where, first["msg"])))) from error
    if unknown := [each.name for each in asked.outputs if each.name not in _OUTPUTS]:
        raise ValueError(f"there is no output {unknown[0][:40]!r}; there is {', '.join(_OUTPUTS)}")
    (tensor,) = asked.inputs
    count = tensor.shape[0] if tensor.shape else 0
    if not 1 <= count <= most:
        raise ValueError(f"{tensor.name[:40]} has {count} images; send from 1 to {most}")
    behind = body[int(size) :] if "binary_data_size" in tensor.parameters else None
    if tensor.name not in ("image", "pixels"):
        raise ValueError(f"there is no input {tensor.name[:40]!r}; there is image and pixels")
    images = _files(tensor, behind) if tensor.name == "image" else _pixels(tensor, behind)
    called = printable(asked.id or "image")[:100]
    images.names = [f"{called} {index}" for index in range(count)]
    return asked, images


def _files(tensor: Tensor, behind: bytes | None) -> ImageSource:
    """Encoded images: each behind its length, or in base64."""
    if tensor.datatype != "BYTES" or len(tensor.shape) != 1:
        raise ValueError("image is of datatype BYTES and shape [N], the files of N images")
    try:
        if behind is not None:
            contents = list(_elements(behind))
        else:
            contents = [base64.b64decode(each, validate=True) for each in tensor.data or []]
    except (struct.error, TypeError, ValueError) as error:
        raise ValueError("image holds no files; in JSON they are written in base64") from error
    if len(contents) != tensor.shape[0]:
        raise ValueError(f"image has {len(contents)} files and its shape says {tensor.shape[0]}")
    return BytesSource(contents, [""] * len(contents))


def _elements(behind: bytes) -> Iterator[bytes]:
    """The values of a tensor of bytes, each behind its length."""
    start = 0
    while start < len(behind):
        (size,) = struct.unpack_from("<I", behind, start)
        start += 4 + size
        if start > len(behind):
            raise ValueError("cut short")
        yield behind[start - size : start]


def _pixels(tensor: Tensor, behind: bytes | None) -> ImageSource:
    """Images of one size, N x H x W x C."""
    kind, shape = _TYPES.get(tensor.datatype), tensor.shape
    if tensor.datatype not in ("UINT8", "UINT16") or len(shape) != 4 or shape[3] not in (1, 3):
        raise ValueError("pixels is of datatype UINT8 or UINT16 and of shape [N, H, W, 1 or 3]")
    if min(shape) < 1:
        raise ValueError("pixels has an empty shape")
    if problem := size_problem(shape[2], shape[1]):
        raise ValueError(f"pixels: {problem}")
    try:
        if behind is None:
            values: npt.NDArray[Any] = np.asarray(tensor.data).ravel()
            whole = values.dtype.kind in "iu" and values.size > 0
            if not whole or values.min() < 0 or values.max() > np.iinfo(str(kind)).max:
                raise ValueError("no pixels")
            values = values.astype(kind)
        else:
            values = np.frombuffer(behind, kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"pixels does not hold numbers of {tensor.datatype}") from error
    if values.size != math.prod(shape):
        raise ValueError(f"pixels has {values.size} values and its shape says {math.prod(shape)}")
    return ArraySource(values.reshape(shape).astype(values.dtype.newbyteorder("=")))
