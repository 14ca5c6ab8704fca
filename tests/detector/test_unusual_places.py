"""A detector of aligned images, whose score rests on what is usual at each place too."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from running import run

from anomem import AnoMem, Config
from anomem.config.presets import scratch
from anomem.detector.estimator import load_trained
from anomem.images.open import open_images

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def model(tiny: Config, digits: Digits) -> AnoMem:
    """Zeros lie where zeros lay before."""
    return AnoMem(replace(tiny, score=scratch().score), device="cpu").fit(digits["train"])


def test_a_dark_spot_scores_higher_where_all_is_usually_bright(
    model: AnoMem, digits: Digits
) -> None:
    usual = digits["normal"][:20]
    spotted = usual.copy()
    spotted[:, 6:10, 2:6] = 255 - spotted[:, 6:10, 2:6]
    without = AnoMem(replace(model.config_, score=replace(scratch().score, places=0.0)))
    without.fit(digits["train"])
    assert model.heat_[0].aligned
    gains = [each.decision_function(spotted) - each.decision_function(usual)
             for each in (model, without)]  # fmt: skip
    assert np.median(gains[0]) > np.median(gains[1]) > 0


def test_an_image_scores_the_same_alone_among_others_and_by_the_saved_model(
    model: AnoMem, digits: Digits, tmp_path: Path
) -> None:
    images = np.concatenate([digits["normal"][:20], digits["anomalous"][:20]])
    scores = model.decision_function(images)
    alone = [model.decision_function(images[n : n + 1])[0] for n in range(0, 40, 7)]
    np.testing.assert_array_equal(alone, scores[::7])
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        load_trained(tmp_path / "model").decision_function(images), scores
    )


def test_an_explanation_says_what_they_add(
    model: AnoMem, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = digits["anomalous"][0]
    found, without = model.explain(image), load_like(model)
    without.scorer_ = copy.deepcopy(model.scorer_)
    without.scorer_.beside.zero_()
    assert found.beside == pytest.approx(found.score - without.explain(image).score, abs=1e-4)
    model.save(tmp_path / "model")
    Image.fromarray(image).save(tmp_path / "one.png")
    assert run("explain", tmp_path / "model", tmp_path / "one.png") == 0
    line = f"{found.beside:+.2f} of it by the places that are most unusual"
    assert line in capsys.readouterr().out


def test_an_export_scores_the_same(model: AnoMem, digits: Digits, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs anomem[export]")
    from anomem.export.export import Wanted, export
    from anomem.exported.detector import ExportedDetector

    export(model, open_images(digits["normal"][:8]), tmp_path / "line", Wanted())
    images = np.concatenate([digits["normal"][:20], digits["anomalous"][:20]])
    found = ExportedDetector(tmp_path / "line").decision_function(images)
    np.testing.assert_allclose(found, model.decision_function(images), atol=1e-3)


def test_labels_taken_back_leave_the_scores_as_they_were(model: AnoMem, digits: Digits) -> None:
    scores = model.decision_function(digits["normal"])
    taught = load_like(model).adapt(digits["anomalous"][:10], [1] * 10)
    assert (taught.decision_function(digits["normal"]) >= scores).all()
    taught.forget(digits["anomalous"][:10])
    np.testing.assert_array_equal(taught.decision_function(digits["normal"]), scores)


def test_a_further_kind_is_usual_where_its_own_places_are(model: AnoMem, digits: Digits) -> None:
    ones = digits["anomalous"][:60]
    both = load_like(model).extend(ones)
    new, old = digits["anomalous"][60:80], digits["normal"][:20]
    assert np.median(both.decision_function(new)) < np.median(model.decision_function(new)) / 2
    assert both.predict(old, 0.1).mean() <= 0.3 and both.predict(new, 0.1).mean() <= 0.5


def load_like(model: AnoMem) -> AnoMem:
    """A detector of the same parts, which may learn on its own."""
    return AnoMem(model.config_, device="cpu")._keep(model.detector())
