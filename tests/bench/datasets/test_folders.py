from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from anomem_bench.datasets import load_named

CAT = data.chelsea()


def write(*files: Path) -> None:
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(CAT[: 20 + number, :30]).save(file)


def test_a_folder_a_class_the_normal_one_first(tmp_path: Path) -> None:
    write(
        tmp_path / "train" / "good" / "a.png", tmp_path / "test" / "broken" / "b.png",
        tmp_path / "test" / "good" / "deeper" / "c.png",
    )  # fmt: skip
    parts = load_named("folder", tmp_path)
    assert parts.train is not None
    assert parts.test.classes == ("good", "broken")
    assert parts.train.label.tolist() == [0] and parts.test.label.tolist() == [1, 0]


def test_without_train_and_test_all_images_are_to_test_on(tmp_path: Path) -> None:
    write(tmp_path / "b" / "1.png", tmp_path / "a" / "2.png")
    parts = load_named("folder", tmp_path)
    assert parts.train is None and parts.test.classes == ("a", "b")
    assert load_named("folder", tmp_path / "a").test.classes == ("a",)
    with pytest.raises(ValueError, match="absent is no folder; give one with train and test in it"):
        load_named("folder", tmp_path / "absent")


def test_mvtec_is_a_category(tmp_path: Path) -> None:
    for category in ("bottle", "cable"):
        write(tmp_path / category / "train" / "good" / "0.png")
        write(*(tmp_path / category / "test" / kind / "0.png" for kind in ("good", "cut", "bent")))
        write(tmp_path / category / "ground_truth" / "cut" / "0_mask.png")
    test = load_named("mvtec_ad", tmp_path / "cable").test
    assert test.classes == ("good", "bent", "cut") and len(test) == 3
    with pytest.raises(ValueError, match=r"no train/good and test; give one of bottle, cable in"):
        load_named("mvtec_ad", tmp_path)
    with pytest.raises(ValueError, match=r"no train/good and test; see https://"):
        load_named("mvtec_ad", tmp_path / "absent")


BOXES = {"001.Albatross/a.jpg": (2, 3, 10, 12), "002.Auklet/b.jpg": (0, 0, 30, 25)}


def boxed(name: str) -> npt.NDArray[np.uint8]:
    x, y, width, height = BOXES[name]
    return CAT[y : y + height, x : x + width]


@pytest.fixture
def official_cub(tmp_path: Path) -> Path:
    """Two photographs in the official layout."""
    folder = tmp_path / "CUB_200_2011"
    lines: dict[str, list[str]] = {"images": [], "train_test_split": [], "bounding_boxes": []}
    for key, (name, box) in enumerate(BOXES.items(), start=1):
        file = folder / "images" / name
        file.parent.mkdir(parents=True)
        Image.fromarray(CAT).save(file.with_suffix(".png"))
        file.with_suffix(".png").rename(file)  # without loss, whatever it is called
        lines["images"].append(f"{key} {name}")
        lines["train_test_split"].append(f"{key} {key % 2}")
        lines["bounding_boxes"].append(f"{key} {' '.join(f'{v}.0' for v in box)}")
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(content) + "\n")
    return folder


@pytest.mark.parametrize("given", [".", ".."])
def test_cub_is_cut_to_its_boxes(given: str, official_cub: Path) -> None:
    parts = load_named("cub200", official_cub / given)
    assert parts.train is not None
    assert parts.test.classes == ("001.Albatross", "002.Auklet")
    assert parts.train.label.tolist() == [0] and parts.test.label.tolist() == [1]
    np.testing.assert_array_equal(parts.train.images[0], boxed("001.Albatross/a.jpg"))
    np.testing.assert_array_equal(parts.test.images[0], boxed("002.Auklet/b.jpg"))


def test_what_cub_lacks_is_told(official_cub: Path) -> None:
    (official_cub / "bounding_boxes.txt").write_text("1 2 3 10 12\n")
    with pytest.raises(ValueError, match=r"002.Auklet/b.jpg has no line in bounding_boxes.txt"):
        load_named("cub200", official_cub)
    (official_cub / "train_test_split.txt").unlink()
    with pytest.raises(ValueError, match=r"train_test_split.txt cannot be read"):
        load_named("cub200", official_cub)
    with pytest.raises(ValueError, match=r"holds no CUB-200-2011; get it from https://"):
        load_named("cub200", official_cub / "images")


TABLE = """object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0.JPG,
candle,test,normal,candle/Data/Images/Normal/1.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,candle/Data/Masks/Anomaly/0.png
pcb1,train,normal,pcb1/Data/Images/Normal/0.JPG,
"""


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text(TABLE)
    for name in ("Normal/0", "Normal/1", "Anomaly/0"):
        file = tmp_path / "candle" / "Data" / "Images" / f"{name}.JPG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30)).save(file, "JPEG")
    return tmp_path


def test_the_official_split_of_an_object(visa: Path) -> None:
    parts = load_named("visa", visa / "candle")
    assert parts.train is not None
    assert parts.test.classes == ("normal", "anomaly")
    assert parts.train.label.tolist() == [0] and parts.test.label.tolist() == [0, 1]
    assert parts.test.images[1].shape == (30, 20, 3)


def test_what_is_missing_is_told(visa: Path) -> None:
    with pytest.raises(ValueError, match=r"1cls.csv has no row of 'capsules'; give the folder"):
        load_named("visa", visa / "capsules")
    with pytest.raises(ValueError, match=r"1cls.csv is missing; give the folder of an object, as"):
        load_named("visa", visa)
