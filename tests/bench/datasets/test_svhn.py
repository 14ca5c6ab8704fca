import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from skimage import data
from torchvision.datasets import SVHN  # type: ignore[import-untyped]

from anomem_bench.datasets import load_named

CROPS = np.stack([data.chelsea()[:32, left : left + 32] for left in range(0, 160, 32)])


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five images in official files, whose zeros bear the label 10, with their checksums."""
    split_list = {}
    for split, part in (("train", slice(0, 3)), ("test", slice(3, 5))):
        file = tmp_path / f"{split}_32x32.mat"
        label = np.array([10, 1, 2, 10, 7])[part, None]
        savemat(file, {"X": CROPS[part].transpose(1, 2, 3, 0), "y": label})
        digest = hashlib.md5(file.read_bytes()).hexdigest()
        split_list[split] = ["http://there", file.name, digest]
    monkeypatch.setattr(SVHN, "split_list", split_list)
    return tmp_path


def test_official_files_are_read(official: Path) -> None:
    parts = load_named("svhn", official)
    assert parts.train is not None
    assert parts.train.label.tolist() == [0, 1, 2] and parts.test.label.tolist() == [0, 7]
    np.testing.assert_array_equal(parts.test.images[1], CROPS[4])
    (official / "train_32x32.mat").unlink()
    assert load_named("svhn", official).train is None


def test_other_files_are_refused(official: Path) -> None:
    with (official / "test_32x32.mat").open("ab") as file:
        file.write(b"more")
    with pytest.raises(
        ValueError, match=r"test_32x32.mat is not the official file .* http://there"
    ):
        load_named("svhn", official)
    with pytest.raises(ValueError, match=r"holds no test_32x32.mat; get it from http://there"):
        load_named("svhn", official / "absent")
