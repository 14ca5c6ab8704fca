from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomem.data.masks import mask_files, read_mask


def test_a_mask_is_found_by_the_path_of_its_image(tmp_path: Path) -> None:
    for name in ("masks/crack/1_mask.png", "masks/crack/2.bmp", "masks/3_mask.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    images = [tmp_path / "odd" / name for name in ("crack/1.jpg", "crack/2.png", "3.png")]
    found = mask_files(images, tmp_path / "odd", tmp_path / "masks")
    assert [file.relative_to(tmp_path / "masks").as_posix() for file in found] == [
        *("crack/1_mask.png", "crack/2.bmp", "3_mask.png")
    ]
    with pytest.raises(ValueError, match=r"4.png has no mask; put one at .*crack/4_mask.png, or"):
        mask_files([tmp_path / "odd" / "crack" / "4.png"], tmp_path / "odd", tmp_path / "masks")


def test_a_mask_is_where_it_is_bright(tmp_path: Path) -> None:
    grey = np.array([[0, 127, 128], [255, 10, 200]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = [[False, False, True], [True, False, True]]
    assert read_mask(tmp_path / "grey.png").tolist() == expected
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = grey
    Image.fromarray(red).save(tmp_path / "red.png")
    assert read_mask(tmp_path / "red.png").tolist() == expected
    Image.fromarray(np.array(expected)).save(tmp_path / "bits.png")
    assert read_mask(tmp_path / "bits.png").tolist() == expected
