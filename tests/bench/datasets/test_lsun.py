from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image
from skimage import data

from anomem_bench.datasets import load_named

CAT = data.chelsea()[:40, :50]


def test_official_databases_are_read(encode: Callable[..., bytes], tmp_path: Path) -> None:
    for room, count in (("bedroom", 3), ("kitchen", 2)):
        folder = str(tmp_path / f"{room}_val_lmdb")
        with lmdb.open(folder) as database, database.begin(write=True) as writer:
            for row in range(count):
                writer.put(f"{room}{row}".encode(), encode(CAT[: 20 + row], "WEBP"))
    parts = load_named("lsun", tmp_path)
    assert parts.train is None and parts.test.classes == ("bedroom", "kitchen")
    assert parts.test.label.tolist() == [0, 0, 0, 1, 1]
    assert parts.test.images[2].shape == (22, 50, 3)
    assert parts.test.images.names[4].endswith("kitchen_val_lmdb, kitchen1")


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_lmdb").mkdir()
    with pytest.raises(ValueError, match="test_lmdb is no database that can be read"):
        load_named("lsun", tmp_path)


def test_a_folder_of_images_is_a_set_to_test_on(tmp_path: Path) -> None:
    Image.fromarray(CAT).save(tmp_path / "a.png")
    test = load_named("lsun", tmp_path).test
    np.testing.assert_array_equal(test.images[0], CAT)
    with pytest.raises(ValueError, match=r"holds no LSUN; get bedroom_val_lmdb and others from"):
        load_named("lsun", tmp_path / "absent")
