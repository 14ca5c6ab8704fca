"""Who is let in, and what ends in a 4xx of one line."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pytest
from serving import Running, form, png

Digits = dict[str, npt.NDArray[np.uint8]]
TOKEN = "a token of the line"


@pytest.fixture(scope="module")
def guarded(model_folder: Path) -> Iterator[Running]:
    """Listens on all addresses, and is in a hurry."""
    words = ["--host", "0.0.0.0", "--timeout", 1, "--most-megabytes", 0.1, "--most-images", 2]
    limits = ["--most-megapixels", 0.01, "--queue", 4]
    started = Running.of(model_folder, *words, *limits, ANOMEM_TOKEN=TOKEN)
    yield started
    started.command.killed()


def refused(answer: tuple[int, object, object], status: int, told: str) -> None:
    assert isinstance(answer[1], dict)
    error = answer[1]["error"]
    assert answer[0] == status and told in error and "\n" not in error and len(error) < 400


def raw(service: Running, *parts: bytes, pause: float = 0.0) -> bytes:
    """What a socket hears that sends some bytes, with pauses."""
    host = urlsplit(service.address)
    with socket.create_connection(("127.0.0.1", host.port or 0), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        heard = b""
        while more := connection.recv(4096):
            heard += more
        return heard


def test_without_the_token_nothing_is_told(guarded: Running) -> None:
    for path in ("v1/models", "metrics", "openapi.json", "v2/models/zeros", "nowhere"):
        refused(guarded.ask(path), 401, "The token is missing or wrong")
        for wrong in ("Bearer wrong", TOKEN, f"Basic {TOKEN}"):
            refused(guarded.ask(path, Authorization=wrong), 401, "The token is missing")
    assert guarded.ask("v2/health/ready")[0] == 200 and guarded.ask("")[0] == 200
    status, told, headers = guarded.ask("v1/models", Authorization=f"bearer {TOKEN}")
    assert status == 200 and told["models"][0]["model"] == "zeros"
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers


def test_on_this_machine_alone_other_names_and_pages_of_other_sites_are_refused(
    service: Running,
) -> None:
    refused(service.ask("v1/models", Host="attacker.example"), 403, "for this machine alone")
    refused(service.ask("v1/models", Sec_Fetch_Site="cross-site"), 403, "not for pages of other")
    assert service.ask("", Sec_Fetch_Site="cross-site")[0] == 200  # a link to the page
    assert service.ask("v1/models", Host="localhost:80")[0] == 200


def test_what_is_too_much_is_refused(guarded: Running, digits: Digits) -> None:
    small = png(digits["normal"][0])

    def score(body: bytes, kind: str = "image/png") -> tuple[int, object, object]:
        return guarded.ask("v1/score", body, Authorization=f"Bearer {TOKEN}", Content_Type=kind)

    assert score(small)[0] == 200
    refused(score(bytes(10**6)), 413, "A request may have 104857 bytes")
    refused(score(png(np.zeros((200, 200), np.uint8))), 400, "more than the 10,000 allowed here")
    refused(score(*form(*3 * [("a.png", small)])), 400, "Too many files")
    refused(score(b""), 400, "holds no image")
    refused(score(*form()), 400, "holds no image")
    refused(score(b"--cut\r\nContent", "multipart/form-data; boundary=cut"), 400, "no image")
    refused(score(b"--cut", "multipart/form-data"), 400, "The form cannot be read")
    refused(score(b"no", "multipart/form-data; boundary=cut"), 400, "The form cannot be read")
    assert guarded.command.err == b""
    given: dict[str, Any] = {"Authorization": f"Bearer {TOKEN}"}
    compressed = guarded.ask("v1/score", small, **given, Content_Encoding="gzip")
    refused(compressed, 415, "The body is compressed")
    assert guarded.ask("v1/score", **given)[0] == 405


def test_a_slow_client_is_told_and_let_go(guarded: Running) -> None:
    head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    body = head + b"Content-Length: 100\r\n\r\n"
    assert b" 408 " in raw(guarded, body, b"x", b"x", pause=0.3)
    assert b" 408 " in raw(guarded, head, pause=0.1)  # the head never ends
    assert b" 408 " in raw(guarded)


def test_what_is_no_http_is_told_in_one_line(guarded: Running) -> None:
    head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    for parts in (
        (b"no HTTP\r\n\r\n",),
        (head, b"X-Long: " + b"a" * 10**6 + b"\r\n\r\n"),
        (head, b"Transfer-Encoding: chunked\r\n\r\nno number\r\n"),
    ):
        answer = raw(guarded, *parts)
        assert b" 400 " in answer and answer.endswith(b'or its head is too long."}')
