"""The frames of videos, by their times."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anomem.images.decode import open_file
from anomem.images.decode_memory import BUDGET, size_problem
from anomem.images.errors import ImageError
from anomem.images.source import ImageSource
from anomem.runtime.untrusted import one_line

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

_KEPT = 8
"""Frames that are kept, as threads that read in order ask for neighbours."""
_AHEAD = 10.0
"""Seconds up to which decoding on is no slower than looking for the key frame before."""
_FINEST = 1000.0
"""Frames a second that names tell apart."""
_TIME = re.compile(r"#t=(\d+\.\d{3})$")


def time_of(name: str) -> float | None:
    """Give the seconds from the beginning of a video at which the frame so named is shown.

    >>> time_of("line.mp4#t=12.480"), time_of("line.png")
    (12.48, None)
    """
    found = _TIME.search(name)
    return float(found[1]) if found else None


class VideoSource(ImageSource):
    """Reads the frames of videos as images called FILE#t=SECONDS, as a media fragment is.

    Read in order, each video is decoded once; a frame elsewhere is looked for from the key frame
    before it.

    Args:
        files: Videos of this machine.
        fps: Frames a second that are taken of each; None takes all, up to 1,000.

    Raises:
        ImageError: A file is no video, or is damaged.
        ValueError: ``fps`` is not above 0.
    """

    def __init__(self, files: Sequence[Path], fps: float | None = None) -> None:
        if fps is not None and not fps > 0:
            raise ValueError(f"fps is {fps:g}; give more frames a second than 0.")
        self._frames: list[tuple[Path, int]] = []
        self.names = []
        for file in files:
            for stamp, time in _frames_of(file, min(fps or _FINEST, _FINEST)):
                self._frames.append((file, stamp))
                self.names.append(f"{file}#t={time:.3f}")
        self._lock = Lock()
        self._kept: OrderedDict[int, VideoFrame | None] = OrderedDict()
        self._reader: _Reader | None = None

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        index = range(len(self))[index]
        name = self.names[index]
        with self._lock, _telling_damage(name):
            if index not in self._kept:
                file, stamp = self._frames[index]
                if self._reader is None or self._reader.file != file:
                    self._reader = _Reader(file)
                self._kept[index] = self._reader.at(stamp)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            frame = self._kept[index]
        if frame is None or frame.is_corrupt:
            raise ImageError(name, "the frame is damaged", "export the video again")
        with BUDGET.held():
            BUDGET.take(frame.width * frame.height * 12, name)
            return _pixels(frame)


def _frames_of(file: Path, fps: float) -> Iterator[tuple[int, float]]:
    """The stamp of each frame that is taken of a video, and its seconds from the first one."""
    import av

    open_file(file).close()  # or what is wrong is told less well
    with _telling_damage(str(file)), av.open(str(file)) as container:
        if not container.streams.video:
            raise ImageError(str(file), "the file has no video", "give videos or images")
        stream = container.streams.video[0]
        if problem := size_problem(stream.width, stream.height):
            raise ImageError(str(file), problem, "crop it")
        base = stream.time_base or Fraction(1)
        stamps = {p.pts for p in container.demux(stream) if p.pts is not None and p.size}
    if not stamps:
        raise ImageError(str(file), "its frames have no times", "save it as MP4")
    first, before = min(stamps), -1.0
    for stamp in sorted(stamps):
        thousandths = round((stamp - first) * base * 1000)
        turn = thousandths * fps // 1000
        if turn > before:
            yield stamp, thousandths / 1000
            before = turn


@contextmanager
def _telling_damage(name: str) -> Iterator[None]:
    import av

    try:
        yield
    except av.FFmpegError as error:
        reason = f"the video is damaged or of an unknown kind ({one_line(error.strerror or error)})"
        raise ImageError(name, reason, "remove it or save it as MP4") from error


class _Reader:
    """Decodes a video on, or from the key frame before where it is to begin elsewhere."""

    def __init__(self, file: Path) -> None:
        import av

        self.file = file
        self._container: InputContainer = av.open(str(file))
        self._stream = self._container.streams.video[0]
        self._coming: Iterator[VideoFrame] = iter(())
        self._last: VideoFrame | None = None

    def at(self, stamp: int) -> VideoFrame | None:
        """Decode the frame of a stamp; None where the video does not give it."""
        last, self._last = self._last, None  # an error leaves nothing to go on from
        ahead = -1.0 if last is None else float((stamp - self._stamp(last)) * self._base())
        if not 0 <= ahead <= _AHEAD:
            last = self._seek(stamp)
        while last is not None and self._stamp(last) < stamp:
            last = next(self._coming, None)
        self._last = last
        return last if last is not None and self._stamp(last) == stamp else None

    def _seek(self, stamp: int) -> VideoFrame | None:
        """The key frame before a stamp; of a file that does not find it, the first frame."""
        first = None
        for target in (stamp, self._stream.start_time or 0):
            self._container.seek(target, stream=self._stream)
            self._coming = self._container.decode(self._stream)
            first = next(self._coming, None)
            if first is not None and self._stamp(first) <= stamp:
                break
        return first

    def _stamp(self, frame: VideoFrame) -> int:
        return -1 if frame.pts is None else frame.pts

    def _base(self) -> Fraction:
        return self._stream.time_base or Fraction(1)


def _pixels(frame: VideoFrame) -> npt.NDArray[Any]:
    """H x W x C, uint8 or uint16, upright."""
    deep = "16le" if frame.format.components[0].bits > 8 else ""
    if len(frame.format.components) == 1 and not frame.format.has_palette:
        pixels = frame.to_ndarray(format=f"gray{deep}")[..., None]
    else:
        pixels = frame.to_ndarray(format="rgb48le" if deep else "rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
