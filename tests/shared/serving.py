"""The service as tests run it: the command in a process of its own, and what it is sent."""

import io
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from running import Command


@dataclass(frozen=True)
class Running:
    """The command ``anomem serve`` in a process of its own, and the address that it printed."""

    command: Command
    address: str

    @staticmethod
    def of(*words: object, **environment: str) -> "Running":
        given = ["--port", 0, "--device", "cpu", "--json"]
        command = Command("serve", *words, *given, **environment)
        command.wait_for(lambda: b"\n" in command.out)
        assert command.out, command.err
        return Running(command, command.out.decode().splitlines()[0])

    def ask(
        self, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, what is said, and headers of an answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, body, named)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            told = {name.lower(): value for name, value in answer.headers.items()}
            in_json = told.get("content-type") == "application/json"
            return answer.status, json.loads(content) if in_json else content, told

    def ask_json(self, path: str, told: object) -> tuple[int, Any, dict[str, str]]:
        """The same, of what is told as JSON."""
        return self.ask(path, json.dumps(told).encode(), Content_Type="application/json")


def form(*files: tuple[str, bytes]) -> tuple[bytes, str]:
    """Files as a form, and its content type."""
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name="images"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for name, content in files
    ]
    return b"".join(parts) + b"--cut--\r\n", "multipart/form-data; boundary=cut"


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Pixels as the content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()
