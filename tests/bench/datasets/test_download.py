import hashlib
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from anomem_bench.datasets.download import FILES, Download, download


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server with an archive and a plain file."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "plain.mat").write_bytes(b"plain")
    with tarfile.open(tmp_path / "served" / "set.tgz", "w:gz") as archive:
        archive.add(tmp_path / "served" / "plain.mat", "unpacked/plain.mat")
    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def serve(monkeypatch: pytest.MonkeyPatch, *files: Download) -> None:
    monkeypatch.setitem(FILES, "cub200", list(files))


def test_archives_are_checked_and_unpacked(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = hashlib.md5((tmp_path / "served" / "set.tgz").read_bytes()).hexdigest()
    plain = Download(f"{server}/plain.mat", hashlib.md5(b"plain").hexdigest(), is_archive=False)
    serve(monkeypatch, Download(f"{server}/set.tgz", md5), plain)
    download("cub200", tmp_path / "out")
    assert (tmp_path / "out" / "unpacked" / "plain.mat").read_bytes() == b"plain"
    assert (tmp_path / "out" / "plain.mat").read_bytes() == b"plain"
    (tmp_path / "served" / "set.tgz").unlink()
    download("cub200", tmp_path / "out")  # all is there


def test_other_content_and_no_answer_are_told(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, Download(f"{server}/plain.mat", "0" * 32, is_archive=False))
    with pytest.raises(ValueError, match=r"plain.mat is not the official file \("):
        download("cub200", tmp_path / "out")
    serve(monkeypatch, Download(f"{server}/absent", "0" * 32, is_archive=False))
    with pytest.raises(ValueError, match=r"absent cannot be reached \(.*\); try again, or put the"):
        download("cub200", tmp_path / "out")


def test_where_to_get_the_others(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^wmca is not downloaded: it needs a signed licence, see"
    ):
        download("wmca", tmp_path)
    with pytest.raises(
        ValueError, match=r"'mars' is no data set .* give one of: cifar10, cifar100"
    ):
        download("mars", tmp_path)
    assert set(FILES) == {"cifar10", "cifar100", "svhn", "cub200", "visa"}
