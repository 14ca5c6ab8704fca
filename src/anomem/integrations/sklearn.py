"""The detector in scikit-learn's convention of outliers: -1 is anomalous, higher is more normal."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from anomem.decision.threshold import rule_of
from anomem.detector.estimator import AnoMem
from anomem.detector.parameters import of_images

Floats = npt.NDArray[np.float64]


class OutlierDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Stands where an ``IsolationForest`` would: +1 is normal, -1 anomalous.

    ``AnoMem`` has the sign of PyOD: there 1 is anomalous, and higher is more anomalous.

    Args:
        detector: What is fitted, a clone of it; None (the default) is ``AnoMem()``. Its choices are
            parameters too, as ``detector__config__memory__beta``. A fitted one stays as it is
            within scikit-learn's ``FrozenEstimator``.
        alpha: Share of normal images that may be called anomalous, 0.05 by default.

    Attributes:
        detector_: The fitted detector.
        offset_: Of ``score_samples``, below which an image is anomalous.

    Example:
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> pixels, digit = load_digits(return_X_y=True)
        >>> images = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
        >>> short = {"config__stage1__min_steps": 20, "config__stage1__max_steps": 20}
        >>> outliers = OutlierDetector(AnoMem("scratch").set_params(**short), alpha=0.1)
        >>> outliers.fit(images[digit == 0][:60]).predict(images[digit == 1][10:13]).tolist()
        [-1, -1, -1]
    """

    detector_: AnoMem
    offset_: float

    def __init__(self, detector: AnoMem | None = None, *, alpha: float = 0.05) -> None:
        self.detector = detector
        self.alpha = alpha

    def fit(self, X: object, y: npt.ArrayLike | None = None) -> Self:
        """Learn the normal.

        Args:
            X: Images, as of ``AnoMem``.
            y: 1 for each normal of X and -1 for each labelled anomaly; None means all are normal.

        Raises:
            ValueError: As of ``AnoMem.fit``.

        Example:
            >>> few = np.concatenate([images[digit == 0][:60], images[digit == 1][:5]])
            >>> outliers = outliers.fit(few, [1] * 60 + [-1] * 5)
            >>> outliers.detector_.labelled_anomalies()[0]
            5
        """
        rule, label = rule_of(self.alpha), None
        if y is not None:
            if unknown := set(np.asarray(y).tolist()) - {-1, 1}:
                raise ValueError(f"y holds {min(unknown)}; give 1 for normal and -1 for anomalous.")
            label = np.asarray(y) == -1
        self.detector_ = clone(self.detector or AnoMem()).fit(X, label)
        self.offset_ = -self.detector_.threshold(rule)
        return self

    @property
    def classes_(self) -> npt.NDArray[np.int64]:
        """What :meth:`predict` tells apart, in the order of the score: -1 anomalous, 1 normal.

        Example:
            >>> outliers.classes_.tolist()
            [-1, 1]
        """
        check_is_fitted(self)
        return np.array([-1, 1])

    def score_samples(self, X: object) -> Floats:
        """Give the score of each image, (N,); higher is more normal.

        Example:
            >>> zeros, ones = (outliers.score_samples(images[digit == d][60:80]) for d in (0, 1))
            >>> bool(zeros.mean() > ones.mean())
            True
        """
        check_is_fitted(self)
        return -self.detector_.decision_function(X).astype(np.float64)

    def decision_function(self, X: object) -> Floats:
        """Give the score of each image above the threshold, (N,); below 0 it is anomalous.

        Example:
            >>> bool((outliers.decision_function(images[digit == 1][10:13]) < 0).all())
            True
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: object) -> npt.NDArray[np.int64]:
        """Decide for each image, (N,): +1 normal, -1 anomalous.

        Example:
            >>> outliers.predict(images[digit == 1][10:13]).tolist()
            [-1, -1, -1]
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_tags__(self) -> Tags:
        return of_images(super().__sklearn_tags__())
