import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import stamina

from anomem.watching.webhook import Webhook


class Receiver(HTTPServer):
    """Takes lines; answers with the codes that it is given first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.codes: list[int] = []
        self.taken: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/a-secret"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        line = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        code = self.server.codes.pop(0) if self.server.codes else 200
        if code == 200:
            self.server.taken.append(line["number"])
        self.send_response(code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sent(file: Path, url: str) -> None:
    """Send until the file is at its end."""
    stop = threading.Event()
    stop.set()
    with stamina.set_testing(True, attempts=10):  # without pauses
        Webhook(file, url).run(stop)


def test_each_line_is_sent_in_order_until_it_is_taken(
    receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was there before the first start is not; a line that is cut short waits to be whole."""
    file = tmp_path / "results.jsonl"
    file.write_text('{"number": 1}\n')
    sent(file, receiver.url)
    assert receiver.taken == []
    with file.open("a") as lines:
        lines.write('{"number": 2}\n{"number": 3}\n{"number": 4}\n{"numb')
    receiver.codes = [200, 400]
    sent(file, receiver.url)
    assert receiver.taken == [2, 4]
    with file.open("a") as lines:
        lines.write('er": 5}\n')
    receiver.codes = [503]
    sent(file, receiver.url)
    assert receiver.taken == [2, 4]
    sent(file, receiver.url)
    assert receiver.taken == [2, 4, 5]
    told = capsys.readouterr().err
    assert "127.0.0.1 refuses a line (400)" in told
    assert "127.0.0.1 takes no lines now (503)" in told
    assert "secret" not in told


def test_a_receiver_that_is_down_is_tried_again(receiver: Receiver, tmp_path: Path) -> None:
    file, stop = tmp_path / "results.jsonl", threading.Event()
    file.touch()
    receiver.codes = [503, 429, 500]
    with stamina.set_testing(True, attempts=10):
        thread = threading.Thread(target=Webhook(file, receiver.url).run, args=(stop,))
        thread.start()
        with file.open("a") as lines:
            lines.write('{"number": 1}\n')
        while thread.is_alive() and not receiver.taken:
            stop.wait(0.01)
        stop.set()
        thread.join()
    assert receiver.taken == [1]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://[::1/", "http://\u2603.example/", ""]
)
def test_an_address_is_of_http(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="--webhook is no address"):
        Webhook(tmp_path / "results.jsonl", url)


def test_how_far_it_has_come_is_no_riddle(tmp_path: Path) -> None:
    (file := tmp_path / "results.jsonl").touch()
    (tmp_path / "results.jsonl.sent").write_text("far")
    with pytest.raises(ValueError, match=r"results\.jsonl\.sent does not say how far"):
        Webhook(file, "http://127.0.0.1/")


def test_lines_are_sent_on_where_how_far_cannot_be_kept(
    receiver: Receiver, small_disk: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_disk("64k") / "results.jsonl"
    file.touch()
    webhook, stop = Webhook(file, receiver.url), threading.Event()
    file.write_text('{"number": 1}\n{"number": 2}\n')
    with suppress(OSError):
        (file.parent / "rest").write_bytes(bytes(2**20))
    stop.set()
    webhook.run(stop)
    assert receiver.taken == [1, 2]
    assert "results.jsonl.sent cannot be written" in capsys.readouterr().err
