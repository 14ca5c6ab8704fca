from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from anomem.images.masks import mask_files, mask_of, read_mask


def test_a_mask_is_found_by_the_path_of_its_image(tmp_path: Path) -> None:
    for name in ("masks/crack/1_mask.PNG", "masks/crack/2.BMP", "masks/3_mask.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "odd").mkdir()
    images = [tmp_path / "odd" / name for name in ("crack/1.jpg", "crack/2.png", "3.png")]
    found = mask_files(images, tmp_path / "odd", tmp_path / "masks")
    assert [file.relative_to(tmp_path / "masks").as_posix() for file in found] == [
        *("crack/1_mask.PNG", "crack/2.BMP", "3_mask.png")
    ]
    with pytest.raises(ValueError, match=r"4.png has no mask; put one at .*crack/4_mask.png, or"):
        mask_files([tmp_path / "odd" / "crack" / "4.png"], tmp_path / "odd", tmp_path / "masks")


def test_masks_are_found_below_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1.png is no folder; masks are found by paths below one"):
        mask_files([tmp_path / "1.png"], tmp_path / "1.png", tmp_path)


def test_a_mask_is_of_the_size_of_its_image(tmp_path: Path) -> None:
    grey = np.array([[0, 0, 0], [0, 0, 9]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert mask_of(tmp_path / "grey.png", (2, 3)).tolist() == mask_of(grey, (2, 3)).tolist()
    with pytest.raises(ValueError, match=r"grey.png is 2 x 3 and its image 3 x 2; give a mask of"):
        mask_of(str(tmp_path / "grey.png"), (3, 2))
    with pytest.raises(ValueError, match=r"a mask is 2 x 3 and its image 2 x 2; give"):
        mask_of(grey, (2, 2))
    with pytest.raises(ValueError, match="a mask holds NaN; give 0 where nothing is marked"):
        mask_of(np.array([[0.0, np.nan]]), (1, 2))


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


@pytest.fixture
def marked() -> npt.NDArray[np.bool_]:
    """A disc, a scratch of a pixel and a dot, of 96 pixels."""
    rows, columns = np.mgrid[:96, :96]
    found: npt.NDArray[np.bool_] = (rows - 60) ** 2 + (columns - 30) ** 2 < 150
    found[5:8, 5:8] = True
    found[np.arange(70), np.arange(70) // 2 + 50] = True
    return found


def drawn(marked: npt.NDArray[np.bool_]) -> dict[str, Image.Image]:
    """The same mask as different tools write it."""
    ones = marked.astype(np.uint8)
    colour = np.zeros((*marked.shape, 3), np.uint8)
    palette = Image.fromarray(ones).convert("P")
    palette.putpalette([200, 200, 200, 90, 0, 0])
    indexed = Image.fromarray(ones * 3).convert("P")
    indexed.putpalette([0, 0, 0] * 3 + [0, 0, 128])
    reversed_palette = Image.fromarray(1 - ones).convert("P")
    reversed_palette.putpalette([255, 255, 255, 0, 0, 0])
    labels = ones * np.where(np.arange(96) < 40, 1, 2).astype(np.uint8)[None]
    clear = np.zeros_like(ones)
    return {
        "8 bits": Image.fromarray(ones * 255),
        "0 and 1": Image.fromarray(ones),
        "faint": Image.fromarray(ones * 100),
        "1 bit": Image.fromarray(marked),
        "16 bits": Image.fromarray(ones.astype(np.uint16) * 65535),
        "16 bits of 255": Image.fromarray(ones.astype(np.uint16) * 255),
        "16 bits of 1": Image.fromarray(ones.astype(np.uint16)),
        "two labels": Image.fromarray(labels),
        "far labels": Image.fromarray(labels * 100),
        "three of 255": Image.fromarray(np.where(marked, 85 * (labels + 1), 0).astype(np.uint8)),
        "blue": Image.fromarray(
            np.where(marked[..., None], np.array([0, 0, 200], np.uint8), colour)
        ),
        "palette": palette,
        "indexed": indexed,
        "reversed palette": reversed_palette,
        "transparent ground": Image.fromarray(np.dstack([ones * 255] * 4)),
        "white on transparent": Image.fromarray(np.dstack([clear + 255] * 3 + [ones * 255])),
        "black on transparent": Image.fromarray(np.dstack([clear] * 3 + [ones * 255])),
        "red, half transparent": Image.fromarray(
            np.dstack([clear + 255, clear, clear, ones * 128])
        ),
        "grey and alpha": Image.fromarray(np.dstack([ones * 255] * 2)),
        "opaque": Image.fromarray(np.dstack([ones * 255] * 3 + [clear + 255])),
        "alpha of zeros": Image.fromarray(np.dstack([ones * 255] * 3 + [clear])),
    }


@pytest.mark.parametrize("way", drawn(np.ones((96, 96), dtype=np.bool_)))
def test_a_mask_is_the_same_however_it_is_drawn(
    tmp_path: Path, marked: npt.NDArray[np.bool_], way: str
) -> None:
    drawn(marked)[way].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), marked)


@pytest.mark.parametrize("quality", [95, 75, 50])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_a_lossy_format_makes_of_a_mask_is_the_mask(
    tmp_path: Path, marked: npt.NDArray[np.bool_], quality: int, mode: str
) -> None:
    image = Image.fromarray(marked.astype(np.uint8) * 255).convert(mode)
    image.save(tmp_path / "mask.jpg", quality=quality)
    Image.open(tmp_path / "mask.jpg").save(tmp_path / "saved again.png")
    for name in ("mask.jpg", "saved again.png"):
        assert (read_mask(tmp_path / name) != marked).mean() < 0.002, name
    image.save(tmp_path / "mask.webp", quality=quality)
    assert (read_mask(tmp_path / "mask.webp") != marked).mean() < 0.01


def test_a_soft_mask_counts_above_half_of_its_highest(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 200, 201).astype(np.uint8), (20, 1))
    Image.fromarray(ramp).save(tmp_path / "soft.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.png"), ramp > 100)


def test_masks_of_one_value(tmp_path: Path) -> None:
    for value in (0, 1, 255):
        Image.new("L", (4, 3), value).save(tmp_path / "flat.png")
        assert read_mask(tmp_path / "flat.png").all() == (value > 0)
