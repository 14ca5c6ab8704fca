import json
from pathlib import Path

import pytest
from PIL import Image
from running import run

from anomem import Config
from anomem.cli.demo import run_demo
from anomem.detector.estimator import load_trained


def test_demo_cut_short(hasty: Config, tmp_path: Path) -> None:
    told = run_demo(tmp_path, config=hasty, device="cpu")
    assert set(told) >= {"auroc_one_class", "auroc_adapted", "by_kind", "knn_thumbnails", "seconds"}
    assert set(told["by_kind"]) == {"object", "style", "local"}
    assert json.loads(json.dumps(told)) == told
    assert load_trained(told["model"]).bank_.labelled.label.tolist() == [1] * 10
    with Image.open(told["picture"]) as picture:
        assert min(picture.size) > 300
    assert told["false_alarms_promised"] == 0.1 and 0 <= told["false_alarms"] <= 1
    page = Path(told["report"]).read_text()
    assert (
        "of 170" in page and 'alt="mask of object/' in page and 'alt="mask of normal/' not in page
    )


@pytest.mark.filterwarnings("ignore:3 of 176 normals are near copies:UserWarning")
@pytest.mark.slow
def test_demo_keeps_its_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "--out", tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["auroc_one_class"] >= 0.92
    assert told["false_alarms"] <= 0.1 + 2 * (0.1 * 0.9 * (1 / 80 + 1 / 44)) ** 0.5
    assert min(told["by_kind"].values()) >= 0.85
    assert told["auroc_adapted"] >= told["auroc_rest_one_class"]
    assert told["knn_thumbnails"] < told["auroc_one_class"] - 0.1
    assert told["seconds"] < 180
