"""Anomalies that slipped in among the normals, with memories of places."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import run
from squares import CONFIG, Images, crops, place_counts
from torch import Tensor

from anomem import AnoMem
from anomem.detector.estimator import load_trained
from anomem.detector.odd_normals import far_above

FLAGS = [
    *("--images.size", "32", "32", "--encoder.name", "resnet10t", "--encoder.width", "16"),
    *("--encoder.stem-stride", "2", "--encoder.frozen", "--memory.sizes", "256", "64"),
    *("--memory.prototypes", "places", "--loss.kind-weight", "0"),
    *("--loss.patch-weight", "0", "--score.no-mahalanobis", "--score.places", "0"),
]
"""Those of ``CONFIG``."""


@pytest.fixture(scope="module")
def slipped(gravel: Images) -> Images:
    """Two of noise, among squares of gravel."""
    noise = np.random.default_rng(0).integers(0, 256, crops(gravel, 200, 2).shape)
    return noise.astype(np.uint8)


@pytest.fixture(scope="module")
def model(gravel: Images, slipped: Images) -> AnoMem:
    """Nothing of what slipped in is recalled."""
    return AnoMem(CONFIG).fit(np.concatenate([crops(gravel, 80, 100), slipped[:1]]))


def test_what_slipped_in_is_named_and_alarms_still(model: AnoMem, slipped: Images) -> None:
    assert "image 100" in model.summary_["left_out"]
    assert (model.decision_function(slipped) > model.threshold(0.1)).all()
    recalled = [origin.image for origin in model.origins_]
    memory = model.network_.place_memories()[0]
    assert recalled.index("image 100") not in memory.origin[:, 0].tolist()


def test_decisions_rest_on_it_until_it_is_labelled(model: AnoMem, slipped: Images) -> None:
    assert model.calibration().scores.argmax() == 100
    told = copy.deepcopy(model).adapt(slipped[:1], [1])
    assert len(told.calibration()) == 100 and "image 100" not in told.summary_["left_out"]


def test_labelled_normal_it_is_recalled_again(
    model: AnoMem, slipped: Images, tmp_path: Path
) -> None:
    again = copy.deepcopy(model).adapt(slipped[:1], [0])
    assert "image 100" not in again.summary_["left_out"]
    assert place_counts(again) > place_counts(model)
    assert again.decision_function(slipped[:1]) < again.threshold(0.1)
    again.save(tmp_path / "model")
    kept = load_trained(tmp_path / "model")
    assert np.array_equal(kept.decision_function(slipped), again.decision_function(slipped))
    kept.forget(slipped[:1])
    assert np.array_equal(kept.decision_function(slipped), model.decision_function(slipped))
    assert kept.summary_["left_out"] == model.summary_["left_out"]


def test_it_stays_left_out_where_a_kind_joins(model: AnoMem, slipped: Images) -> None:
    data = pytest.importorskip("skimage.data", reason="needs anomem[demo]")
    other = np.concatenate([crops(data.grass(), 0, 100), slipped[1:]])
    wider = copy.deepcopy(model).extend(other)
    assert wider.summary_["left_out"].count("image 100") == 2
    assert (wider.decision_function(slipped) > wider.threshold(0.1)).all()


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        (torch.linspace(1, 2, 100), []),
        (torch.cat([torch.linspace(1, 2, 100), torch.tensor([9.0])]), [100]),
        (torch.cat([torch.linspace(1, 2, 100), torch.full((20,), 9.0)]), []),  # another kind
        (torch.cat([torch.ones(100), torch.full((1,), 2.0)]), [100]),
        (torch.ones(100), []),
        (torch.cat([torch.linspace(1, 2, 60), torch.tensor([9.0])]), []),  # too few to tell
    ],
)
def test_few_that_are_far_above(scores: Tensor, found: list[int]) -> None:
    assert far_above(scores).nonzero().flatten().tolist() == found


def test_fit_and_info_name_it(
    gravel: Images, slipped: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for index, image in enumerate([*crops(gravel, 80, 100), slipped[0]]):
        Image.fromarray(image).save(folder / f"{index:03}.png")
    name = folder / "100.png"
    line = rf"of 101 normals (is|are) unlike the others and left out of the memory: .*{name}"
    assert run("fit", folder, "--out", tmp_path / "model", *FLAGS) == 0
    assert re.search(line, capsys.readouterr().out)
    assert run("info", tmp_path / "model") == 0
    assert re.search(line, capsys.readouterr().out)
