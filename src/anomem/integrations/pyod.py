"""The detector as one of PyOD's: contamination, scores of the training images, confidence."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pyod.models.base import BaseDetector
from scipy.stats import binom
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from anomem.decision.calibrate import p_values, smallest_alpha
from anomem.detector.estimator import AnoMem
from anomem.images.open import open_images
from anomem.images.source import ImageSource

Floats = npt.NDArray[np.float64]
_FITTED = ["decision_scores_", "threshold_", "labels_"]


class AnoMemDetector(BaseDetector):  # type: ignore[misc]
    """Stands where any detector of PyOD would, on images in place of a table.

    Scores have the sign of PyOD already: higher is more anomalous, and 1 is an outlier. What is
    said of new images rests on normals that nothing has learnt from: no more than a share
    ``contamination`` of images like those of the fit is called an outlier, on average.

    Args:
        contamination: That share, in (0, 0.5], 0.1 by default; or a thresholder of PyThresh, which
            is fitted to the scores of those normals.
        detector: What is fitted, a clone of it; None (the default) is ``AnoMem()``.

    Attributes:
        detector_: The fitted detector.
        decision_scores_: (N,) of the images of the fit; of those held out, as they were before
            anything had learnt from them.
        threshold_: The score above which an image is an outlier; a thresholder's is on its scale.
        labels_: (N,) of the images of the fit, 1 where they are outliers.

    Example:
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> pixels, digit = load_digits(return_X_y=True)
        >>> images = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
        >>> short = {"config__stage1__min_steps": 20, "config__stage1__max_steps": 20}
        >>> outliers = AnoMemDetector(0.1, AnoMem("scratch").set_params(**short))
        >>> outliers.fit(images[digit == 0][:60]).predict(images[digit == 1][10:13]).tolist()
        [1, 1, 1]
    """

    detector_: AnoMem
    decision_scores_: Floats
    threshold_: float
    labels_: npt.NDArray[np.int64]

    def __init__(self, contamination: float = 0.1, detector: AnoMem | None = None) -> None:
        super().__init__(contamination=contamination)
        self.detector = detector

    def fit(self, X: object, y: npt.ArrayLike | None = None) -> Self:
        """Learn the normal.

        Args:
            X: Images, as of ``AnoMem``.
            y: 0 for each normal of X and 1 for each labelled outlier, which are learnt too; None
                means that none is labelled.

        Raises:
            ValueError: As of ``AnoMem.fit``.

        Example:
            >>> outliers = outliers.fit(images[digit == 0][:60])
            >>> len(outliers.decision_scores_), float(outliers.labels_.mean()) < 0.2
            (60, True)
        """
        self._set_n_classes(None)
        images = open_images(X)
        self.detector_ = clone(self.detector or AnoMem()).fit(images, y)
        # Images that were learnt from score lower: their threshold would call too many outliers.
        self.decision_scores_ = self.detector_.calibration().scores
        self._process_decision_scores()
        self._share = self.contamination if self._chosen() else self.labels_.mean()
        if self._chosen():
            self.threshold_ = self.detector_.threshold(self.contamination)
        self.decision_scores_ = self._scores_of_fit(images)
        self.labels_ = self._outlying(self.decision_scores_)
        return self

    def decision_function(self, X: object) -> Floats:
        """Give the score of each image, (N,); higher is more anomalous.

        Example:
            >>> scores = outliers.decision_function(images[digit == 1][10:13])
            >>> bool((scores > outliers.threshold_).all())
            True
        """
        check_is_fitted(self, _FITTED)
        return self.detector_.decision_function(X).astype(np.float64)

    def predict_proba(
        self, X: Any, method: str = "p-value", return_confidence: bool = False
    ) -> Any:
        """Give the share of normals that score lower than each image, (N, 2).

        Args:
            X: N images.
            method: "p-value" (the default): the second column is 1 less the split-conformal
                p-value, the first the p-value. "linear" and "unify" are PyOD's own, of arrays.
            return_confidence: Give :meth:`predict_confidence` too.

        Example:
            >>> shares = outliers.predict_proba(images[digit == 1][10:13])
            >>> bool((shares[:, 1] >= 0.9).all())
            True
        """
        check_is_fitted(self, _FITTED)
        if method != "p-value":
            return super().predict_proba(X, method, return_confidence)
        p = self.detector_.p_value(X)
        shares = np.stack([p, 1 - p], axis=1)
        return (shares, self.predict_confidence(X)) if return_confidence else shares

    def predict_confidence(self, X: object) -> Floats:
        """Give how probably each image would be decided alike with other held-out normals, (N,).

        An image of p-value p has about ``B(K, p)`` of K further held-out normals above it, and is
        an outlier where they are fewer than ``contamination (K + 1)`` allows. PyOD asks the same
        of the scores of the fit (Perini, Vercruyssen and Davis, 2020), which are lower.

        Example:
            >>> outliers.predict_confidence(images[digit == 1][10:13]).round(2).tolist()
            [0.75, 0.75, 0.75]
        """
        check_is_fitted(self, _FITTED)
        calibration = self.detector_.calibration()
        groups = calibration.groups
        allowed = int(max(self._share, smallest_alpha(groups)) * (groups + 1) + 1e-9)
        scores = self.decision_function(X)
        p = p_values(scores, calibration)
        outlier: Floats = binom.cdf(allowed - 1, groups, p)
        return np.where(self._outlying(scores), outlier, 1 - outlier)

    def compute_rejection_stats(self, *args: Any, **costs: Any) -> tuple[float, float, float]:
        """Give PyOD's expected share of rejections and its bounds, for held-out normals.

        Example:
            >>> rejected, bound, cost = outliers.compute_rejection_stats(T=32)
            >>> bool(0 <= rejected <= bound)
            True
        """
        check_is_fitted(self, _FITTED)
        held_out = copy.copy(self)
        held_out.decision_scores_ = np.zeros(self.detector_.calibration().groups)
        return BaseDetector.compute_rejection_stats(held_out, *args, **costs)

    def _chosen(self) -> bool:
        """Whether ``contamination`` is a share, and no thresholder."""
        return isinstance(self.contamination, float | int)

    def _outlying(self, scores: Floats) -> npt.NDArray[np.int64]:
        """1 where a score is an outlier's, (N,); thresholders have a scale of their own."""
        if self._chosen():
            return (scores > self.threshold_).astype(np.int64)
        return self.contamination.predict(scores).astype(np.int64)

    def _scores_of_fit(self, images: ImageSource) -> Floats:
        """Scores of the images of the fit, (N,), the held-out ones as they were measured there."""
        scores = self.detector_.decision_function(images).astype(np.float64)
        number = {name: index for index, name in enumerate(images.names)}
        bank = self.detector_.bank_
        held_out = [bank.held_out_name[i] for i in bank.deciding().nonzero().flatten().tolist()]
        scores[[number[name] for name in held_out]] = self.detector_.calibration().scores
        return scores
