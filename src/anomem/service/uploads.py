"""Requests to images, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePath

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from anomem.images.source import BytesSource
from anomem.runtime.printing import printable
from anomem.runtime.untrusted import one_line
from anomem.service.limits import Limits, Room

_NAME = 100
"""Characters of a name that are told."""
_DROPPED = 2**24
"""Bytes of a refused request that are still read, as few clients read an answer before they have
sent all."""

_CLOSE = {"Connection": "close"}


@asynccontextmanager
async def body_of(request: Request, limits: Limits, room: Room) -> AsyncIterator[bytes]:
    """Read the body of a request, and hold it.

    Args:
        request: Of any kind.
        limits: Of the service.
        room: Bytes that all requests hold together.

    Raises:
        HTTPException: It is too long, too slow or cut short.
        Busy: There is no room for it.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "The body is compressed; send it as it is.")
    declared = request.headers.get("content-length")
    with room.held(min(int(declared), limits.body) if declared else limits.body):
        try:
            async with asyncio.timeout(limits.timeout):
                body = await _read(request, limits.body)
        except TimeoutError:
            problem = f"The request took over {limits.timeout:g} seconds to arrive; send it faster."
            raise HTTPException(408, problem, _CLOSE) from None
        except ClientDisconnect:
            raise HTTPException(400, "The request is cut short; send it again.") from None
        yield body


async def _read(request: Request, most: int) -> bytes:
    chunks: list[bytes] = []
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > most:
            chunks.clear()
            if count > most + _DROPPED:
                break
        else:
            chunks.append(chunk)
    if count > most:
        problem = f"A request may have {most} bytes; send fewer or smaller images."
        raise HTTPException(413, problem, _CLOSE)
    return b"".join(chunks)


async def images_of(body: bytes, request: Request, limits: Limits, name: str) -> BytesSource:
    """Find the images of a request: its whole body, of that name, or the files of a form.

    Raises:
        HTTPException: There are none, or too many.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        contents, names = await _files(body, request, limits)
    else:
        contents, names = [body] if body else [], [_name(name)]
    if not contents:
        wanted = "an image file as the body, or files as multipart/form-data"
        raise HTTPException(400, f"The request holds no image; send {wanted}.")
    return BytesSource(contents, names)


async def _files(body: bytes, request: Request, limits: Limits) -> tuple[list[bytes], list[str]]:
    async def whole() -> AsyncGenerator[bytes]:
        yield body

    parser = MultiPartParser(
        request.headers, whole(), max_files=limits.images, max_fields=limits.images
    )
    parser.spool_max_size = limits.body  # in memory, where the body is too
    try:
        form = await parser.parse()
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        return [await file.read() for file in files], [_name(file.filename) for file in files]
    except (MultiPartException, ValueError, KeyError) as error:
        reason = one_line(error)
        raise HTTPException(400, f"The form cannot be read ({reason}); send it again.") from error


def _name(given: str | None) -> str:
    """The name of a file as it may be told: of its path the last part, and not too long."""
    name = PurePath((given or "").replace("\\", "/")).name
    return printable(name)[:_NAME] or "image"
