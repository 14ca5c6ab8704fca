"""What a fitted detector says of images: scores, decisions, explanations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from anomem.config import Config
from anomem.detector.calibrate import Calibration, p_values, raised
from anomem.detector.cross_fitting import held_out_scores, unseen_scores
from anomem.detector.explain import Explanation, explain
from anomem.detector.feature_bank import FeatureBank
from anomem.detector.heat import Heat, heat_maps
from anomem.detector.parameters import Configured
from anomem.detector.resting import Resting, rests_on
from anomem.detector.score import Scores, joined_scores, score_source
from anomem.detector.threshold import (
    FalseAlarms,
    FindLabelled,
    Promise,
    Rule,
    rule_of,
    threshold_by,
)
from anomem.images.framing import Framing
from anomem.images.open import open_images
from anomem.model.heat import HeatModel
from anomem.model.network import MultiScaleMemory
from anomem.model.scorer import Scorer
from anomem.runtime.progress import StageProgress, stage


class Fitted(Configured):
    """A detector once it is fitted; the attributes are those of :class:`~anomem.AnoMem`."""

    config_: Config
    framing_: Framing
    network_: MultiScaleMemory
    scorer_: Scorer
    bank_: FeatureBank
    heat_: list[HeatModel]
    _calibrated: tuple[FeatureBank, Scorer, Calibration] | None = None

    def decision_function(
        self, X: object, *, progress: StageProgress | None = None
    ) -> npt.NDArray[np.float32]:
        """Anomaly score of each image, (N,) float32, higher is more anomalous.

        Without labels 0 is the mean of held-out normals and 1 their standard deviation; the heads
        add to it.

        Raises:
            ValueError: An image cannot be read.
        """
        scores = self.score_images(X, progress=progress)
        if scores.errors:
            raise ValueError(next(iter(scores.errors.values())))
        return scores.score

    def score_images(self, X: object, *, progress: StageProgress | None = None) -> Scores:
        """Scores of images of which some may be unreadable: those get NaN and an error."""
        return joined_scores(self.score_batches(X, progress=progress))

    def score_batches(
        self, X: object, *, progress: StageProgress | None = None
    ) -> Iterator[tuple[range, Scores]]:
        """Scores as of :meth:`score_images`, a batch and the indices of its images at a time."""
        check_is_fitted(self, "network_")
        return score_source(
            self.network_,
            self.scorer_,
            open_images(X),
            self.framing_,
            progress=stage(progress, "scoring"),
        )

    def calibration(self) -> Calibration:
        """Scores of the held-out normals, on which decisions rest.

        Those labelled normal since are scored as if they had not been labelled; those labelled
        anomalous or set aside are left out. All are raised a little, see
        :func:`~anomem.detector.calibrate.raised`.
        """
        check_is_fitted(self, "network_")
        bank, scorer = self.bank_, self.scorer_
        # Where held-out normals are labelled, each call would train a detector for every fold.
        if self._calibrated is not None:
            of_reserve, of_detector, calibration = self._calibrated
            if of_reserve is bank and of_detector is scorer:
                return calibration
        kept, scores = held_out_scores(
            bank, scorer, self.network_.pooled_widths, self.config_, self.seed
        )
        calibration = Calibration(
            raised(scores.double().numpy()),
            bank.held_out_group[kept].numpy(),
            bank.held_out_kind[kept].numpy(),
        )
        self._calibrated = bank, scorer, calibration
        return calibration

    def rests_on(self, rule: str | float | Rule = 0.05) -> Resting | None:
        """The one held-out normal on which the threshold rests, if it does; None otherwise.

        It does where the threshold would be lower by more than a standard deviation of the others
        without it, see :func:`~anomem.detector.resting.rests_on`.

        Args:
            rule: See :meth:`threshold`; only a share of false alarms rests on held-out normals
                alone.
        """
        rule = rule_of(rule)
        if not isinstance(rule, FalseAlarms):
            return None
        with warnings.catch_warnings(action="ignore"):  # threshold() gives them
            threshold = self.threshold(rule)
        deciding = self.bank_.deciding().nonzero().flatten().tolist()
        names = [self.bank_.held_out_name[index] for index in deciding]
        return rests_on(self.calibration(), names, threshold)

    def p_value(self, X: object) -> npt.NDArray[np.float64]:
        """Split-conformal p-value of each image, (N,) in (0, 1]; small is anomalous.

        A normal image has ``p <= alpha`` with probability at most alpha, on average over draws of
        the held-out normals; n groups of them give no p-value below ``1 / (n + 1)``.
        """
        return p_values(self.decision_function(X), self.calibration())

    def predict(self, X: object, rule: str | float | Rule = 0.05) -> npt.NDArray[np.int64]:
        """Decide for each image, (N,): 0 normal, 1 anomalous.

        Args:
            X: Images.
            rule: See :meth:`threshold`.
        """
        threshold = self.threshold(rule)
        return (self.decision_function(X) > threshold).astype(np.int64)

    def threshold(self, rule: str | float | Rule = 0.05) -> float:
        """The score above which :meth:`predict` calls an image anomalous.

        Args:
            rule: A share alpha of normal images that may be called anomalous, on average over
                draws of the held-out normals; or "f1", "find-labelled" or "cost:MISS:SHARE", which
                weigh held-out normals against labelled anomalies, see
                :mod:`anomem.detector.threshold`.

        Raises:
            ValueError: There is no such rule, or it needs labelled anomalies and there are none.

        Warns:
            UserWarning: Alpha needs more held-out normals than there are; the smallest supported
                one is used in its place.
        """
        check_is_fitted(self, "network_")
        return threshold_by(rule_of(rule), self.calibration(), self._unseen_scores)

    def promise(self, rule: str | float | Rule) -> Promise | None:
        """What the rule "find-labelled" promises of new images; None of any other rule.

        Args:
            rule: See :meth:`threshold`.

        Raises:
            ValueError: As of :meth:`threshold`.
        """
        if not isinstance(rule_of(rule), FindLabelled):
            return None
        scores = self.calibration().scores
        return Promise(
            anomalies=int((self.bank_.labelled.label == 1).sum()),
            learnt=int(self.bank_.learnt().sum()),
            alarms=int((scores > self.threshold(rule)).sum()),
            held_out=len(scores),
        )

    def explain(self, image: object) -> Explanation:
        """Score of one image, of each scale, and the deviation map of each scale.

        Args:
            image: A path, a PIL image, or an array H x W x 3 or H x W.
        """
        check_is_fitted(self, "network_")
        return explain(image, self.framing_, self.network_, self.scorer_, self.heat_)

    def heat_maps(self, X: object, *, progress: StageProgress | None = None) -> Iterator[Heat]:
        """The heat of :meth:`explain` for each image in order, measured in batches.

        Args:
            X: N images.
            progress: Called as ``progress(stage, done, total)``.

        Yields:
            H x W float32, of the size of the image.

        Raises:
            ValueError: An image cannot be read.
        """
        check_is_fitted(self, "network_")
        told, source = stage(progress, "heat maps"), open_images(X)
        for heat in heat_maps(source, self.framing_, self.network_, self.heat_, told):
            if isinstance(heat, str):
                raise ValueError(heat)
            yield heat

    def _unseen_scores(self) -> npt.NDArray[np.float32]:
        """Scores of the labelled anomalies, each without its own label."""
        widths = self.network_.pooled_widths
        return unseen_scores(self.bank_, widths, self.config_, self.seed).numpy()
