"""The detector within scikit-learn, in its own sign and in that of scikit-learn's outliers."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags

from anomem import AnoMem, Config
from anomem.integrations.sklearn import OutlierDetector

Digits = dict[str, npt.NDArray[np.uint8]]

# All others of check_estimator fit tables of floats, of a few columns each, which are no images.
CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_estimators_unfitted,
    estimator_checks.check_mixin_order,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
]
# A preset that is none has no choices to be parameters, so AnoMem tells of it at once.
OF_ANY_VALUE = [
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_set_params,
]


@pytest.mark.parametrize(
    ("estimator", "checks"),
    [(AnoMem(), CHECKS), (OutlierDetector(), CHECKS + OF_ANY_VALUE)],
    ids=["AnoMem", "OutlierDetector"],
)
def test_it_passes_the_checks_of_an_estimator(
    estimator: BaseEstimator, checks: list[Callable[..., None]]
) -> None:
    for check in checks:
        check(type(estimator).__name__, estimator)


@pytest.fixture(scope="module")
def mixed(digits: Digits) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Sixty zeros and twelve other digits, and 1 for each of the others."""
    images = np.concatenate([digits["train"][:60], digits["anomalous"][:12]])
    return images, np.repeat([0, 1], [60, 12])


def test_folds_and_grids_rank_by_the_score(
    hasty: Config, mixed: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
) -> None:
    """As scorers of scikit-learn ask an outlier detector for it."""
    model = AnoMem(hasty, device="cpu")
    assert get_tags(model).estimator_type == "outlier_detector"
    how: dict[str, Any] = {
        "scoring": "roc_auc",
        "cv": StratifiedKFold(2),  # what is no classifier has its folds in order otherwise
        "error_score": "raise",
    }
    folds = cross_val_score(model, *mixed, **how)
    assert folds.shape == (2,) and (folds > 0.5).all()
    choices = {"config__memory__beta": [1.0, 10.0]}
    grid = GridSearchCV(model, choices, refit=False, **how).fit(*mixed)
    assert set(grid.cv_results_["param_config__memory__beta"]) == {1.0, 10.0}


def test_every_image_is_scored_by_folds_that_have_not_seen_it(
    hasty: Config, mixed: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
) -> None:
    images, label = mixed
    model = AnoMem(hasty, device="cpu")
    folds = StratifiedKFold(2)
    scores = cross_val_predict(model, images, label, cv=folds, method="decision_function")
    train, test = next(folds.split(images, label))
    expected = clone(model).fit(images[train], label[train]).decision_function(images[test])
    np.testing.assert_array_equal(scores[test], expected)
    assert not hasattr(model, "classes_")  # as it is not fitted


def test_probabilities_of_scikit_learn_rise_with_the_score(
    outliers: OutlierDetector, model: AnoMem, digits: Digits
) -> None:
    images = np.concatenate([digits["normal"], digits["anomalous"]])
    odd = np.repeat([False, True], [len(digits["normal"]), len(digits["anomalous"])])
    for fitted, label in ((model, np.where(odd, 1, 0)), (outliers, np.where(odd, -1, 1))):
        given = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(images, label)
        anomalous = given.predict_proba(images)[:, list(given.classes_).index(label[-1])]
        order = np.argsort(model.decision_function(images), kind="stable")
        assert (np.diff(anomalous[order]) >= 0).all() and anomalous[order[-1]] > 0.5


def brighter(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return images // 2 + 127


def test_a_pipeline_ends_in_the_detector(hasty: Config, digits: Digits) -> None:
    model = AnoMem(hasty, device="cpu")
    pipeline = make_pipeline(FunctionTransformer(brighter), model).fit(digits["train"][:40])
    expected = clone(model).fit(brighter(digits["train"][:40]))
    np.testing.assert_array_equal(
        pipeline.decision_function(digits["normal"]),
        expected.decision_function(brighter(digits["normal"])),
    )
    changed = clone(pipeline).set_params(anomem__config__memory__beta=3.0)
    assert changed.get_params()["anomem__config__memory__beta"] == 3.0


def pickled(model: Any, _: Path) -> Any:
    return pickle.loads(pickle.dumps(model))


def dumped(model: Any, folder: Path) -> Any:
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


def saved_by_torch(model: Any, folder: Path) -> Any:
    torch.save(model, folder / "model.pt")
    return torch.load(folder / "model.pt", weights_only=False)


@pytest.mark.parametrize("again", [pickled, dumped, saved_by_torch])
def test_a_fitted_model_is_pickled(
    again: Callable[[Any, Path], Any], model: AnoMem, digits: Digits, tmp_path: Path
) -> None:
    loaded = again(model, tmp_path)
    scores = model.decision_function(digits["anomalous"])
    np.testing.assert_array_equal(loaded.decision_function(digits["anomalous"]), scores)
    assert loaded.threshold(0.1) == model.threshold(0.1)


@pytest.fixture(scope="module")
def outliers(_loaded: AnoMem) -> OutlierDetector:
    """A fitted detector under the signs of scikit-learn."""
    return OutlierDetector(FrozenEstimator(copy.deepcopy(_loaded)), alpha=0.1).fit(None)


def test_the_sign_is_that_of_outliers(
    outliers: OutlierDetector, model: AnoMem, digits: Digits
) -> None:
    images = np.concatenate([digits["normal"], digits["anomalous"]])
    scores = outliers.score_samples(images)
    np.testing.assert_array_equal(scores, -model.decision_function(images))
    np.testing.assert_array_equal(outliers.decision_function(images), scores - outliers.offset_)
    decided = outliers.predict(images)
    np.testing.assert_array_equal(decided, 1 - 2 * model.predict(images, 0.1))
    assert {-1, 1} == set(decided.tolist())
    labels = np.repeat([1, -1], [len(digits["normal"]), len(digits["anomalous"])])
    by_scorer = make_scorer(roc_auc_score, response_method="decision_function")
    assert by_scorer(outliers, images, labels) == roc_auc_score(labels, scores) > 0.9


def test_labels_have_the_signs_of_outliers_too(hasty: Config, digits: Digits) -> None:
    images = np.concatenate([digits["train"][:30], digits["anomalous"][:3]])
    outliers = OutlierDetector(AnoMem(hasty, device="cpu"), alpha=0.1)
    with pytest.raises(ValueError, match="y holds 0; give 1 for normal and -1 for anomalous"):
        outliers.fit(images, [0] * 30 + [1] * 3)
    with pytest.raises(ValueError, match=r"alpha is 2.0; give a share in \(0, 1\)"):
        clone(outliers).set_params(alpha=2).fit(None)  # before anything is read
    with pytest.raises(NotFittedError):
        outliers.predict(images)
    decided = outliers.fit_predict(images, y=None)
    assert decided.shape == (33,)
    outliers.set_params(detector__config__memory__beta=3.0).fit(images, [1] * 30 + [-1] * 3)
    assert outliers.detector_.summary_["anomalies"] == 3
    assert outliers.detector_.config_.memory.beta == 3.0
