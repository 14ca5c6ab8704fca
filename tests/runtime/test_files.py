import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from running import files_of_at_most

from anomem.runtime.files import (
    WriteError,
    remove_abandoned,
    replacing,
    try_file,
    try_folder,
    write_bytes,
    write_text,
)


def test_a_file_is_made_with_its_folders(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "é.txt"
    write_text(file, "ä\n")
    assert file.read_bytes() == "ä\n".encode()
    assert os.listdir(file.parent) == ["é.txt"]


def test_what_cannot_be_written_whole_leaves_the_old(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("old")
    with files_of_at_most(1000), pytest.raises(WriteError) as error:
        write_bytes(file, bytes(100_000))
    assert str(error.value) == (
        f"{file} cannot be written (File too large); free some space or give another path."
    )
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["scores.csv"]
    with suppress(KeyboardInterrupt), replacing(file) as part:
        part.write(b"half")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["scores.csv"]


def test_a_full_disk_leaves_the_old(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("64k")
    (disk / "report.html").write_text("old")
    with pytest.raises(WriteError, match=r"No space left on device\); free some space"):
        write_bytes(disk / "report.html", bytes(100_000))
    assert (disk / "report.html").read_text() == "old"
    assert os.listdir(disk) == ["report.html"]
    (disk / "filler").write_bytes(bytes(60 * 1024))
    with pytest.raises(WriteError, match="No space left on device"):
        try_file(disk / "new.csv")


def test_mode_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_bytes(link, b"new")
    assert link.is_symlink() and real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640
    link.unlink()
    link.symlink_to(tmp_path / "there" / "fresh.csv")
    write_bytes(link, b"fresh")
    assert (tmp_path / "there" / "fresh.csv").read_bytes() == b"fresh"


def test_devices_and_pipes_are_written_to_not_replaced(tmp_path: Path) -> None:
    write_bytes(Path(os.devnull), b"gone")
    assert Path(os.devnull).is_char_device()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    write_bytes(pipe, b"through")
    assert reader.communicate()[0] == b"through" and pipe.is_fifo()


def test_a_trial_says_what_would_fail_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for file, why in (
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "file" / "below.csv", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "new" / ("x" * 300) / "a.csv", "File name too long"),
        (Path("/proc/none/a.csv"), "cannot be written"),
    ):
        with pytest.raises(WriteError, match=why) as error:
            try_file(file)
        assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)
    with pytest.raises(WriteError, match=r"file cannot be written .*no folder"):
        try_folder(tmp_path / "file")
    try_file(tmp_path / "new" / "deeper" / "a.csv")
    try_file(tmp_path / "file")
    try_folder(tmp_path / "new" / "deeper")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


@contextmanager
def as_anybody() -> Iterator[None]:
    """Not as the superuser, who may write everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_this_user_may_not_write_is_refused() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "open").mkdir()
        (folder / "open" / "kept.csv").write_text("read-only")
        (folder / "open" / "kept.csv").chmod(0o444)
        (folder / "open").chmod(0o777)
        folder.chmod(0o555)
        for file in (folder / "new.csv", folder / "open" / "kept.csv"):
            with as_anybody():
                with pytest.raises(WriteError, match="Permission denied"):
                    try_file(file)
                with pytest.raises(WriteError, match="Permission denied"):
                    write_bytes(file, b"")
        folder.chmod(0o755)
        assert os.listdir(folder / "open") == ["kept.csv"]


HOLD = """
import signal, sys, time
from pathlib import Path
from anomem.runtime.files import replacing
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have left it ignored
with replacing(Path(sys.argv[1])) as part:
    part.write(b"half")
    part.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_parts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writing\n"
        assert len(os.listdir(tmp_path)) == 2
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        remove_abandoned(tmp_path)
        assert len(os.listdir(tmp_path)) == 1
        processes[1].send_signal(signal.SIGINT)
        processes[1].wait()
        assert os.listdir(tmp_path) == []
    finally:
        for process in processes:
            process.kill()
            process.communicate()


WRITE = """
import sys, time
from pathlib import Path
from anomem.runtime.files import remove_abandoned, write_bytes
file, own, end = Path(sys.argv[1]), bytes([int(sys.argv[2])]), time.monotonic() + 0.5
while time.monotonic() < end:
    write_bytes(file, own * 300_000)
    remove_abandoned(file.parent)
"""


def test_writers_and_readers_at_once_never_see_a_part(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    write_bytes(file, b"\x01" * 300_000)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(file), str(n)]) for n in (1, 2, 3)
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = file.read_bytes()
        assert len(content) == 300_000 and len(set(content)) == 1
        seen.add(content[0])
        time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(seen) > 1 and os.listdir(tmp_path) == ["table.csv"]
