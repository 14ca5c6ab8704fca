import struct
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from anomem.images.errors import ImageError
from anomem.images.open import open_images

PHOTO: npt.NDArray[np.uint8] = data.astronaut()
HEIGHT, WIDTH, COUNT = 64, 96, 50


def shown(index: int) -> npt.NDArray[np.int64]:
    """What a camera sees that moves over the photograph by a pixel a frame."""
    return PHOTO[100 : 100 + HEIGHT, index : index + WIDTH].astype(np.int64)


def film(file: Path, codec: str) -> Path:
    with av.open(file, "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(shown(index).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("videos") / "line.mp4", "libx264")


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("b.webm", "libvpx-vp9"), ("c.avi", "mpeg4"), ("d.mpg", "mpeg2video")],
)
def test_each_frame_is_the_one_of_its_time(name: str, codec: str, tmp_path: Path) -> None:
    file = film(tmp_path / name, codec)
    source = open_images(file)
    assert source.names == [f"{file}#t={index / 25:.3f}" for index in range(COUNT)]
    for index in (*range(COUNT), 49, 3, 30, 12):  # in order, then to and fro
        lost = np.abs(source[index] - shown(index)).mean()
        assert lost < 8 < np.abs(source[index] - shown((index + 9) % COUNT)).mean()
    with pytest.raises(IndexError):
        source[COUNT]


def test_so_many_frames_a_second_are_taken_evenly(clip: Path) -> None:
    for fps, times in ((5, np.arange(10) / 5), (0.7, [0, 1.44]), (100, np.arange(50) / 25)):
        names = open_images(clip, fps=fps).names
        assert names == [f"{clip}#t={time:.3f}" for time in times]
    np.testing.assert_array_equal(open_images(clip, fps=5)[7], open_images(clip)[35])
    with pytest.raises(ValueError, match="fps is 0; give more"):
        open_images(clip, fps=0)


def test_a_telephone_held_upright(clip: Path, tmp_path: Path) -> None:
    """Its file says that each frame is to be turned by 90 degrees clockwise."""
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 44
    turned = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 2**30)
    content[matrix : matrix + 36] = turned
    (tmp_path / "up.mp4").write_bytes(content)
    upright = open_images(tmp_path / "up.mp4")[20]
    np.testing.assert_array_equal(upright, np.rot90(open_images(clip)[20], -1))


def test_a_folder_of_videos(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "one.MP4").symlink_to(clip)
    (tmp_path / "two.mp4").symlink_to(clip)
    assert len(open_images(tmp_path)) == 2 * COUNT
    np.testing.assert_array_equal(open_images(tmp_path)[COUNT], open_images(clip)[0])


def test_errors_say_what_to_do(clip: Path, tmp_path: Path) -> None:
    content = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cut.mp4: the video is damaged or of an unknown kind"):
        open_images(tmp_path / "cut.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ImageError, match="the file is empty"):
        open_images([clip, tmp_path / "empty.mp4"])
    (tmp_path / "x.png").touch()
    with pytest.raises(ValueError, match=r"x.png is an image but .*line.mp4 is a video; give one"):
        open_images([clip, tmp_path / "x.png"])
    raw = bytearray(film(tmp_path / "d.mpg", "mpeg2video").read_bytes())
    at = raw.index(b"\0\0\1\0", len(raw) // 2) + 40  # within a picture
    raw[at : at + 400] = np.random.default_rng(0).bytes(400)
    (tmp_path / "d.mpg").write_bytes(raw)
    source, told = open_images(tmp_path / "d.mpg"), list[str]()
    for index in range(len(source)):
        try:
            source[index]
        except ImageError as error:
            told.append(error.reason)
    assert 0 < len(told) < COUNT and set(told) == {"the frame is damaged"}
