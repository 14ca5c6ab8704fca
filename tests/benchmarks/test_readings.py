import json
from pathlib import Path

import pytest
from digit_images import digit_folders

from readings import READINGS, Trial, config_of, main


@pytest.fixture
def digits(tmp_path: Path) -> str:
    return digit_folders(tmp_path, enlarged=2, train=60)


def test_the_literal_reading_recalls_the_mean_of_all_and_the_preset_does_not(
    digits: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    readings = ("literal", "unit length, beta 20", "no memory")
    main(Trial(digits, out, "1", readings, "resnet14t", width=16, steps=3, batch=16, device="cpu"))
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
