import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from readings import READINGS, Trial, config_of, main


@pytest.fixture
def digits(tmp_path: Path) -> str:
    pixels, digit = load_digits(return_X_y=True)
    images = np.kron(pixels.reshape(-1, 8, 8) * (255 / 16), np.ones((2, 2))).astype(np.uint8)
    for number in range(3):
        for part, some in (("train", slice(0, 60)), ("test", slice(60, 80))):
            folder = tmp_path / "digits" / part / str(number)
            folder.mkdir(parents=True)
            for index, image in enumerate(images[digit == number][some]):
                Image.fromarray(image).save(folder / f"{index}.png")
    return f"folder:{tmp_path / 'digits'}"


def test_the_literal_reading_recalls_the_mean_of_all_and_the_preset_does_not(
    digits: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    readings = ("literal", "unit length, beta 20", "no memory")
    main(Trial(digits, out, "1", readings, "resnet14t", width=32, steps=3, batch=16, device="cpu"))
    runs = {run["reading"]: run for run in json.loads((out / "readings.json").read_text())["runs"]}
    assert tuple(runs) == readings
    literal, ours = (runs[name]["first"][0] for name in readings[:2])
    assert literal["perplexity"] > 500 and literal["variance"] < 1e-3
    assert ours["perplexity"] < 200 and ours["variance"] > 0.1
    by_query, by_view = runs["literal"]["gradients"][0]
    assert by_query < by_view / 100  # nothing that the query could change is recalled
    assert (out / "readings.md").read_text().count("\n| ") == 4


def test_each_reading_differs_from_the_preset_by_its_memory_alone(digits: str) -> None:
    trial = Trial(digits, Path("out"), "1")
    configs = {name: config_of(name, trial) for name in READINGS}
    assert len({config.memory for config in configs.values()}) == len(READINGS) - 1
    assert configs["no memory"] == configs["unit length, beta 20"]
    assert len({config.loss for config in configs.values()}) == 1
