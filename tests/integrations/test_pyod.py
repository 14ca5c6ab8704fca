"""The detector among those of PyOD."""

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from anomem import AnoMem, Config

pytest.importorskip("pyod", reason="needs anomem[pyod]")
from pyod.models import thresholds
from pyod.models.base import BaseDetector
from pyod.utils import data, persistence, utility
from sklearn.exceptions import NotFittedError

from anomem.integrations.pyod import AnoMemDetector

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def outliers(_loaded: AnoMem, digits: Digits) -> AnoMemDetector:
    """Fitted on zeros, earlier."""
    return AnoMemDetector(0.1, FrozenEstimator(copy.deepcopy(_loaded))).fit(digits["train"])


@pytest.fixture(scope="module")
def mixed(digits: Digits) -> npt.NDArray[np.uint8]:
    return np.concatenate([digits["normal"], digits["anomalous"][:60]])


def test_it_is_a_detector_of_pyod(
    outliers: AnoMemDetector, mixed: npt.NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    utility.check_detector(outliers)
    assert isinstance(outliers, BaseDetector)
    y = np.repeat([0, 1], [len(mixed) - 60, 60])
    scores = outliers.decision_function(mixed)
    data.evaluate_print("AnoMem", y, scores)
    assert float(capsys.readouterr().out.split("ROC:")[1].split(",")[0]) > 0.9
    assert utility.precision_n_scores(y, scores) > 0.8
    assert (utility.get_label_n(y, scores) == utility.score_to_label(scores, y.mean())).mean() > 0.9


def test_what_it_says_of_the_fit(outliers: AnoMemDetector, digits: Digits) -> None:
    scores = outliers.decision_scores_
    assert scores.shape == outliers.labels_.shape == (120,)
    np.testing.assert_array_equal(outliers.labels_, scores > outliers.threshold_)
    assert outliers.threshold_ == outliers.detector_.threshold(0.1)
    calibration = outliers.detector_.calibration().scores
    assert np.isin(calibration, scores).all()
    again = outliers.decision_function(digits["train"])
    assert (again == scores).sum() == 120 - len(calibration)


def test_what_it_says_of_new_images(outliers: AnoMemDetector, mixed: npt.NDArray[np.uint8]) -> None:
    p = outliers.detector_.p_value(mixed)
    shares = outliers.predict_proba(mixed)
    np.testing.assert_array_equal(shares, np.stack([p, 1 - p], axis=1))
    decided, confidence = outliers.predict(mixed, return_confidence=True)
    np.testing.assert_array_equal(decided, outliers.detector_.predict(mixed, 0.1))
    for method in ("linear", "unify"):
        of_pyod = outliers.predict_proba(mixed, method)
        assert of_pyod.shape == (len(mixed), 2) and (of_pyod >= 0).all() and (of_pyod <= 1).all()
    # Of so many new held-out normals, each above the image with probability p, too few are.
    held_out = len(outliers.detector_.calibration())
    allowed = [k for k in range(held_out + 1) if (k + 1) / (held_out + 1) <= 0.1]
    for at in range(0, len(mixed), 10):
        alike = sum(binom.pmf(k, held_out, p[at]) for k in allowed)
        assert confidence[at] == pytest.approx(alike if decided[at] else 1 - alike)


def test_doubtful_images_are_rejected(
    outliers: AnoMemDetector, mixed: npt.NDArray[np.uint8]
) -> None:
    decided, confidence = outliers.predict(mixed, return_confidence=True)
    rejected, (share, *bounds) = outliers.predict_with_rejection(
        mixed, T=5, c_r=0.1, return_stats=True
    )
    doubtful = abs(2 * confidence - 1) <= 1 - 2 * np.exp(-5)
    assert doubtful.any() and not doubtful.all()
    np.testing.assert_array_equal(rejected, np.where(doubtful, -2, decided))
    assert 0 < share < 1 and np.isfinite(bounds).all()


def test_a_thresholder_rests_on_held_out_normals(
    outliers: AnoMemDetector, mixed: npt.NDArray[np.uint8], digits: Digits
) -> None:
    pytest.importorskip("pythresh", reason="needs pythresh")
    by_mad = AnoMemDetector(thresholds.MAD(), outliers.detector).fit(digits["train"])
    decided = by_mad.predict(mixed)
    # By scores of the images that were learnt from, most normals would be outliers.
    assert decided[:-60].mean() < 0.2 and decided[-60:].mean() > 0.9
    assert by_mad.labels_.mean() < 0.1
    confidence = by_mad.predict_confidence(mixed)
    assert confidence[decided == 0].min() < confidence[decided == 0].max() <= 1


def test_it_is_cloned_and_kept(
    outliers: AnoMemDetector, mixed: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    fresh = clone(outliers).set_params(contamination=0.2, detector=AnoMem("scratch"))
    fresh.set_params(detector__config__memory__beta=3.0)
    assert fresh.get_params()["detector__config__memory__beta"] == 3.0
    with pytest.raises(NotFittedError):
        fresh.predict(mixed)
    persistence.save(outliers, tmp_path / "outliers.joblib")
    loaded = persistence.load(tmp_path / "outliers.joblib", trusted=True)
    np.testing.assert_array_equal(
        loaded.decision_function(mixed), outliers.decision_function(mixed)
    )


def test_labelled_outliers_in_files_are_learnt(hasty: Config, folders: dict[str, Path]) -> None:
    files = [*sorted(folders["train"].iterdir())[:30], *sorted(folders["anomalous"].iterdir())[:3]]
    outliers = AnoMemDetector(0.2, AnoMem(hasty, device="cpu")).fit(files, [0] * 30 + [1] * 3)
    assert outliers.detector_.summary_["anomalies"] == 3
    assert outliers.predict_proba(files).shape == (33, 2)
