"""Object storage for real: the S3 API over HTTP, read by s3fs as a user would."""

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.object_store import UrlSource
from anomem.images.open import open_images
from anomem.images.parquet import ParquetSource
from anomem.images.read import read
from anomem.images.resize import ImageShape
from anomem.images.stream import Stream


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """An S3 server on this machine."""
    pytest.importorskip("s3fs", reason="needs pip install s3fs")
    server = pytest.importorskip("moto.server", reason="needs pip install 'moto[server]'")
    running = server.ThreadedMotoServer(port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> str:
    """A bucket with the files of the digits, and files that are none."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    storage = fsspec.filesystem("s3", skip_instance_cache=False)
    name = f"bucket-{os.urandom(4).hex()}"
    storage.mkdir(name)
    for folder in ("train", "normal"):
        files = sorted(folders[folder].iterdir())[:40]
        storage.put([str(file) for file in files], [f"{name}/{folder}/{f.name}" for f in files])
    for other in ("notes.txt", ".hidden/x.png", "train/.x.png"):
        storage.pipe(f"{name}/{other}", b"none")
    return f"s3://{name}"


def test_a_folder_on_s3_is_as_one_here(bucket: str, folders: dict[str, Path]) -> None:
    here = open_images(sorted(folders["train"].iterdir())[:40])
    there = open_images(f"{bucket}/train")
    assert isinstance(there, UrlSource)
    assert there.names == [f"{bucket}/train/{Path(name).name}" for name in here.names]
    for index in [*range(40), 3, -1]:
        np.testing.assert_array_equal(there[index], here[index])
        assert there.encoded(index) == here.encoded(index)
    assert there.reduced(0, 8).shape == (16, 16, 1)
    with pytest.raises(IndexError):
        there[40]


def test_a_list_of_urls_has_an_image_an_item_also_where_one_stands_twice(bucket: str) -> None:
    first, second = open_images(f"{bucket}/train").names[:2]
    assert open_images([second, first, second]).names == [second, first, second]
    assert len(open_images([f"{bucket}/train", second])) == 40


def test_urls_are_listed_as_paths_are(bucket: str) -> None:
    everything = open_images(bucket).names
    assert len(everything) == 80 and everything == sorted(everything)
    assert open_images(f"{bucket}/train/lot0-00*.png").names == everything[40:50]
    assert open_images(f"{bucket}/t*").names == everything[40:]
    assert open_images([everything[3], f"{bucket}/normal/"]).names[:2] == [
        *(everything[3], everything[0])
    ]
    assert open_images(f"{bucket}/notes.txt").names == [f"{bucket}/notes.txt"]


@pytest.mark.parametrize("root", ["memory://lots", "file://"])
def test_storage_is_listed_as_a_folder_is(root: str, tmp_path: Path) -> None:
    storage = fsspec.filesystem("memory")
    for name in (
        *("a.JFIF", "b.dib", "lot [3]/1.png", "lot [3]/@eaDir/1.png", "lot 3/2.png"),
        *("$RECYCLE.BIN/3.png", ".trash/4.png", "._a.jfif", "x.heic", "lot 3/y.nrrd"),
    ):
        storage.pipe(f"/lots/{name}", b"x")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = root if root.startswith("memory") else f"{root}{tmp_path}"

    def names(given: str) -> list[str]:
        start = "memory:///lots/" if root.startswith("memory") else f"{tmp_path}/"
        return [name.removeprefix(start) for name in open_images(given).names]

    with pytest.warns(UserWarning, match=r"^2 images that cannot be read were left out \(1 \."):
        assert names(root) == ["a.JFIF", "b.dib", "lot 3/2.png", "lot [3]/1.png"]
    for pattern, expected in (
        ("lot [3]/*", ["lot [3]/1.png"]),
        ("lot [2-4]/*.png", ["lot 3/2.png"]),
        ("*/*.png", ["lot 3/2.png", "lot [3]/1.png"]),
        ("$RECYCLE.BIN/*", ["$RECYCLE.BIN/3.png"]),
        (".t*/*", [".trash/4.png"]),
    ):
        assert names(f"{root}/{pattern}") == expected, pattern


def test_a_part_travels(bucket: str) -> None:
    source = open_images(bucket)
    assert isinstance(source, UrlSource)
    part = pickle.loads(pickle.dumps(source.part(30, 50)))
    assert part.names == source.names[30:50]
    np.testing.assert_array_equal(part[19], source[49])
    assert source.runs(30) == [range(0, 30), range(30, 60), range(60, 80)]


def test_parquet_on_s3(bucket: str, digits_as_cifar10: Path) -> None:
    file = digits_as_cifar10 / "test.parquet"
    fsspec.filesystem("s3").put(str(file), f"{bucket[5:]}/tables/test.parquet")
    here = open_images(file)
    there = open_images(f"{bucket}/tables")
    assert isinstance(there, ParquetSource)
    assert there.names[7] == f"{bucket}/tables/test.parquet#7"
    assert len(there) == len(here)
    part = pickle.loads(pickle.dumps(there.part(100, 300)))
    for index in (0, 1, 199, 5):
        np.testing.assert_array_equal(part[index], here[100 + index])


def test_a_folder_on_s3_is_streamed(bucket: str) -> None:
    source = open_images(f"{bucket}/train")
    assert isinstance(source, UrlSource)
    stream = Stream(source, (), Framing("resize", ImageShape(1, 16, 16)), batch=8, seed=0)
    shown = torch.cat([stream.at(step) for step in range(5)])
    everything = read(source, range(40), Framing("resize", ImageShape(1, 16, 16))).images
    assert sorted(shown.flatten(1).tolist()) == sorted(everything.reshape(40, -1).tolist())
    assert stream.errors == {}


def test_a_bad_image_is_told_and_the_others_are_read(bucket: str) -> None:
    storage = fsspec.filesystem("s3")
    storage.pipe(f"{bucket[5:]}/train/a-empty.png", b"")
    storage.pipe(f"{bucket[5:]}/train/b-broken.png", b"no image")
    source = open_images(f"{bucket}/train")
    gone = source.names[5]
    storage.rm(gone)
    errors = read(source, range(42), Framing("resize", ImageShape(1, 16, 16))).errors
    assert str(errors[0]) == (
        f"{bucket}/train/a-empty.png: the file is empty (0 bytes); remove it or export it again."
    )
    assert str(errors[1]).startswith(f"{bucket}/train/b-broken.png: not an image of a known format")
    assert str(errors[5]) == f"{gone}: there is no such file; check the URL."
    assert len(errors) == 3
    with pytest.raises(ImageError, match="a-empty"):
        source.encoded(0)


@pytest.mark.usefixtures("bucket")
def test_a_lost_connection_is_no_bad_image() -> None:
    source = UrlSource(["s3://no-such-bucket-here/x.png"])
    with pytest.raises(ImageError, match="there is no such file"):
        source[0]
    fsspec.filesystem("memory").pipe("/held/x.png", b"x")
    held = open_images("memory://held")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(fsspec.filesystem("memory")), "cat_file", _lost)
        with pytest.raises(OSError, match=r"memory://.*x.png cannot be read \(lost\); try again"):
            held[0]


def _lost(*_: object, **__: object) -> bytes:
    raise ConnectionError("lost")


def test_errors_say_what_to_do(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"/none: there is no such file or folder; check the URL"):
        open_images(f"{bucket}/none")
    with pytest.raises(ValueError, match=r"none\*: no file matches this pattern; check the URL"):
        open_images(f"{bucket}/none*")
    fsspec.filesystem("s3").pipe(f"{bucket[5:]}/text/notes.txt", b"none")
    with pytest.raises(ValueError, match="text: the folder has no image"):
        open_images(f"{bucket}/text")
    with pytest.raises(TypeError, match="Item 1 of the list is a path but item 0 is a URL of s3"):
        open_images([bucket, tmp_path])
    with pytest.raises(ValueError, match=r"nope://x: fsspec cannot open it \(Protocol not known"):
        open_images("nope://x")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ValueError, match=r"gs://x/y: fsspec cannot open it .*; pip install gcsfs"):
        open_images("gs://x/y")
