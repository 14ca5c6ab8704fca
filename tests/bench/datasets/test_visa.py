from pathlib import Path

import pytest
from PIL import Image

from anomem_bench.datasets import load_named

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
