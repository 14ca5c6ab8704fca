import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from torch import Tensor

from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.local import FileSource
from anomem.images.open import open_images
from anomem.images.resize import ImageShape
from anomem.images.stream import Stream

FRAMING = Framing("resize", ImageShape(1, 8, 8))
COUNT = 47


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of one grey value each, which is the number of the image."""
    folder = tmp_path_factory.mktemp("grey")
    for level in range(COUNT):
        Image.fromarray(np.full((8, 8), level, np.uint8)).save(folder / f"{level:02}.png")
    return sorted(folder.iterdir())


def stream(files: list[Path], left_out: tuple[int, ...] = (), **choices: Any) -> Stream:
    return Stream(FileSource(files), left_out, FRAMING, **({"batch": 4, "seed": 3} | choices))


def levels(frames: Tensor) -> list[int]:
    return [int(level) for level in frames[:, 0, 0, 0]]


def drawn(stream: Stream, images: int) -> list[int]:
    steps = [levels(stream.at(step)) for step in range(-(-images // stream.batch))]
    return list(chain.from_iterable(steps))[:images]


def test_every_pass_shows_every_image_once_in_another_order(files: list[Path]) -> None:
    left_out = (0, 5, 46)
    shown = stream(files, left_out)
    assert len(shown) == COUNT - 3
    first, second = np.reshape(drawn(shown, 2 * len(shown)), (2, -1)).tolist()
    assert sorted(first) == sorted(second) == sorted(set(range(COUNT)) - set(left_out))
    assert first != second and first != sorted(first)
    assert drawn(stream(files, left_out, seed=4), len(shown)) != first


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_pass(files: list[Path], world: int) -> None:
    shares = [stream(files, (7,), rank=rank, world=world, batch=1) for rank in range(world)]
    shown = [drawn(share, 14) for share in shares]
    assert max(Counter(chain.from_iterable(shown)).values()) == 1
    assert all(set(share).isdisjoint([7]) for share in shown)


def test_a_step_is_the_same_wherever_the_stream_begins(files: list[Path]) -> None:
    whole = stream(files, decode_ahead=True)
    steps = [levels(whole.at(step)) for step in range(30)]
    later = stream(files)
    assert [levels(later.at(step)) for step in (17, 18, 25, 26, 3)] == [
        steps[step] for step in (17, 18, 25, 26, 3)
    ]


def test_another_image_of_the_step_stands_for_one_that_cannot_be_read(
    files: list[Path], tmp_path: Path
) -> None:
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(files[9].read_bytes()[:40])
    shown = stream([*files[:10], broken, missing], batch=6)
    for step in range(2):
        frames = levels(shown.at(step))
        assert len(frames) == 6 and set(frames) <= set(range(10))
    assert sorted(shown.errors) == [str(broken), str(missing)]
    assert str(broken) in shown.errors[str(broken)]
    assert shown.errors[str(missing)] == f"{missing}: there is no such file; check the path."
    with pytest.raises(ImageError, match="neither it nor the 1 after it can be read"):
        stream([broken, missing], batch=2).at(0)


def test_rows_of_parquet_files_are_streamed_as_files_are(files: list[Path], tmp_path: Path) -> None:
    images = [{"bytes": file.read_bytes(), "path": None} for file in files]
    for number in range(3):
        table = pa.table({"image": images[number::3]})
        pa.parquet.write_table(table, tmp_path / f"{number}.parquet", row_group_size=5)
    source = open_images(tmp_path)
    shown = drawn(Stream(source, (), FRAMING, batch=5, seed=0), COUNT)  # type: ignore[arg-type]
    assert sorted(shown) == list(range(COUNT))


def test_what_is_missing_is_named(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'anomem\[stream\]'"):
        stream(files)
