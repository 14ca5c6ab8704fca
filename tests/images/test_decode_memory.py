import os
import re
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock

import pytest
from PIL import Image

from anomem.images.decode_memory import BUDGET, GIGABYTE, Budget, allow
from anomem.images.errors import ImageError


def test_threads_take_no_more_than_there_is() -> None:
    budget, lock = Budget(100), Lock()
    taken, highest = 0, 0

    def decode(count: int) -> None:
        nonlocal taken, highest
        with budget.held(), budget.held():
            budget.take(count, "image")
            with lock:
                taken += count
                highest = max(highest, taken)
            time.sleep(0.002)
            with lock:
                taken -= count

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [40, 60, 100, 1, 30] * 10))
    assert taken == 0 and highest <= 100


def test_a_thread_that_holds_some_does_not_wait() -> None:
    budget = Budget(100)
    with budget.held():
        budget.take(80, "first")
        budget.take(80, "second")
    with budget.held():
        budget.take(100, "third")


def test_what_is_larger_than_all_there_is_is_refused() -> None:
    budget = Budget(GIGABYTE)
    with (
        budget.held(),
        pytest.raises(ImageError, match=r"a.png: decoding it takes 2.5 GB of memory"),
    ):
        budget.take(25 * GIGABYTE // 10, "a.png")
    with pytest.raises(ValueError, match="-1 GB is no memory to decode in"), allow(-1):
        pass


def test_what_a_command_allows_is_over_with_it() -> None:
    before = BUDGET.limit, BUDGET.pixels
    with suppress(KeyError), allow(2):
        assert BUDGET.limit == 2 * GIGABYTE
        BUDGET.pixels = 50
        raise KeyError
    assert (BUDGET.limit, BUDGET.pixels) == before


def chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def png_of_zeros(path: Path, side: int, bits: int, colour_type: int) -> None:
    """A file of kilobytes whose pixels take gigabytes."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    header = struct.pack(">IIBBBBB", side, side, bits, colour_type, 0, 0, 0)
    packing = zlib.compressobj()
    row = bytes(side * channels * bits // 8 + 1)
    body = b"".join(packing.compress(row) for _ in range(side)) + packing.flush()
    signature = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(
        signature + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


_PEAK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30,) * 2)
from PIL import Image
from anomem.images.framing import Framing
from anomem.images.read import read
from anomem.images.resize import ImageShape
from anomem.images.open import open_images

def highest():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])

def read_all(files):
    for kind in ("resize", "letterbox"):
        framing = Framing(kind, ImageShape(3, 64, 64))
        read(open_images(files), range(len(files)), framing)

read_all(sys.argv[1:2])
for file in sys.argv[2:]:
    if os.fork() == 0:
        rest = highest()
        read_all([file])
        print("KB", highest() - rest, file, flush=True)
        os._exit(0)
    os.wait()
rest = highest()
read_all(sys.argv[2:])
print("all KB", highest() - rest)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["PNG", "PNG of 16 bits", "other formats"])
def test_no_file_takes_more_than_a_gigabyte(tmp_path: Path, kind: str) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (80, 80)).save(small)
    if kind == "other formats":
        large = Image.new("RGB", (6000, 6000))
        large.save(tmp_path / "a.webp", lossless=True, method=0, quality=0)
        large.save(tmp_path / "b.jp2")
        large.save(tmp_path / "c.avif", speed=10)
        large.save(tmp_path / "d.jpg", progressive=True, subsampling=0)
        large.convert("P").save(tmp_path / "e.gif", transparency=0)
        large.convert("RGBA").save(tmp_path / "f.tif", compression="tiff_lzw")
    else:
        bits = 8 if kind == "PNG" else 16
        for colour_type in (0, 2, 4, 6):
            for side in (6000, 9400, 13300):
                file = tmp_path / f"{side}-{colour_type}.png"
                png_of_zeros(file, side, bits, colour_type)
    files = sorted(map(str, tmp_path.glob("[!s]*")))
    assert len(files) > 5
    ran = subprocess.run(
        [sys.executable, "-c", _PEAK, str(small), *files],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # threads of OpenMP do not outlive a fork
    )
    each = re.findall(r"^KB (\d+)", ran.stdout, re.MULTILINE)
    assert len(each) == len(files), ran.stderr
    assert max(map(int, each)) * 1024 < GIGABYTE
    in_a_row = re.search(r"^all KB (\d+)", ran.stdout, re.MULTILINE)
    assert in_a_row and int(in_a_row.group(1)) * 1024 < 1.25 * GIGABYTE
