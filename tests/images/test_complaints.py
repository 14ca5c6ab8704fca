import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from running import Command
from skimage import data

from anomem.images import complaints
from anomem.images.decode import decode
from anomem.images.errors import ImageError


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A TIFF of which libtiff has much to say."""
    path = tmp_path / "damaged.tif"
    Image.fromarray(data.astronaut()[:64, :64]).save(path, compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    content[200:900] = bytes(700)
    path.write_bytes(content)
    return path


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="libtiff is found on Linux")
def test_what_libtiff_says_is_counted_and_not_passed_on(
    damaged: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    complaints.told()
    with pytest.raises(ImageError, match="damaged"):
        decode(damaged)
    assert capfd.readouterr() == ("", "")
    told = complaints.told()
    assert told is not None and "libtiff" in told and told.endswith(".") and "\n" not in told
    assert complaints.told() is None


@pytest.mark.parametrize(
    ("logger", "library"), [("tifffile", "tifffile"), ("PIL.TiffImagePlugin", "Pillow")]
)
def test_what_is_logged_of_a_tiff_file_is_counted(
    logger: str, library: str, capfd: pytest.CaptureFixture[str]
) -> None:
    complaints.told()
    log = logging.getLogger(logger)
    with complaints.LISTENING:
        log.error("a tag is odd")
    complaints.heard(library, 2)
    assert capfd.readouterr().err == ""
    assert f"(lines: {library} 3)" in str(complaints.told())
    log.error("a tag of the host's own file is odd")
    assert complaints.told() is None


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="libtiff is found on Linux")
def test_threads_listen_together_until_the_last_one_is_done(
    damaged: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def lines() -> int:
        found = re.search(r"libtiff (\d+)", str(complaints.told()))
        return 0 if found is None else int(found[1])

    def read(_: int) -> None:
        with pytest.raises(ImageError, match="damaged"):
            decode(damaged)

    complaints.told()
    read(0)
    of_one = lines()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(40)))
    assert lines() == 40 * of_one > 0
    assert capfd.readouterr() == ("", "")
    with pytest.raises(OSError, match="decoder error"), Image.open(damaged) as image:
        image.load()
    assert lines() == 0 and "LZW" in capfd.readouterr().err


def test_a_command_tells_of_it_in_one_line(damaged: Path, model_folder: Path) -> None:
    words = [
        "score",
        str(model_folder),
        str(damaged.parent),
        "--out",
        str(damaged.parent / "t.csv"),
    ]
    command = Command(*words)
    command.ended()
    lines = command.err.decode().splitlines()
    assert sum("image libraries complained of files" in line for line in lines) == 1
    assert all(line.startswith("anomem: ") for line in lines if "damaged.tif" in line)
    assert not any("LZW" in line or "TIFF" in line for line in lines)
