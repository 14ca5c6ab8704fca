"""A detector that is ready for use, trained or exported: what every verb that uses one asks."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.decision.calibrate import Calibration, p_values
from anomem.decision.scores import Heat, Scores, joined_scores
from anomem.decision.threshold import (
    FalseAlarms,
    FindLabelled,
    Promise,
    Resting,
    Rule,
    rests_on,
    rule_of,
    threshold_by,
)
from anomem.images.framing import Box
from anomem.runtime.progress import StageProgress


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Explains one image, as far as any detector can.

    Attributes:
        score: As ``decision_function`` gives it.
        frame: The frame that has the score: the whole image, unless it is cut or padded or has a
            region.
        scale_scores: One-class score of each scale, of the frame; "scale_1" is the shallowest.
        heat: Where the image is unusual, H x W float32: in standard deviations of normals at each
            place, averaged over the maps of :class:`~anomem.model.heat.HeatModel`; 0 outside
            of the region.
        odd: The places on which the score rests, where the detector tells them; those that deviate
            most first.
        beside: What the score holds beside that of its scales: of the most unusual places, or with
            memories of places of the whole image; 0 where neither counts.
    """

    score: float
    frame: Box
    scale_scores: dict[str, float]
    heat: Heat
    odd: Sequence[Any] = ()
    beside: float = 0.0


class ReadyDetector(ABC):
    """Scores, decides and draws heat; images X are given as to :class:`~anomem.AnoMem`.

    Attributes:
        rule: By which it decides where no other is given: 0.05; of an exported detector its own.
    """

    rule: str = "0.05"

    @abstractmethod
    def score_batches(
        self, X: object, *, progress: StageProgress | None = None
    ) -> Iterator[tuple[range, Scores]]:
        """Score as :meth:`score_images` does, a batch and the indices of its images at a time."""

    @abstractmethod
    def heat_images(
        self, X: object, *, progress: StageProgress | None = None
    ) -> Iterator[Heat | str]:
        """Give heat as :meth:`heat_maps` does, or why an image has none, in a sentence."""

    @abstractmethod
    def explain(self, image: object) -> Explained:
        """Explain one image: a path, a PIL image, or an array H x W x 3 or H x W."""

    @abstractmethod
    def calibration(self) -> Calibration:
        """Give the scores of the held-out normals, on which decisions rest.

        Those labelled normal since are scored as if they had not been labelled; those labelled
        anomalous or set aside are left out. All are raised a little, see
        :func:`~anomem.decision.calibrate.raised`.
        """

    @abstractmethod
    def held_out_names(self) -> Sequence[str]:
        """Name the held-out normals on which decisions rest, in the order of their scores."""

    @abstractmethod
    def unseen_anomalies(self) -> npt.NDArray[np.float32]:
        """Score each labelled anomaly (A,) as if it had not been learnt from."""

    @abstractmethod
    def labelled_anomalies(self) -> tuple[int, int]:
        """Count labelled anomalies, and how many of these the training has learnt from."""

    def decision_function(
        self, X: object, *, progress: StageProgress | None = None
    ) -> npt.NDArray[np.float32]:
        """Give the anomaly score of each image, (N,) float32; higher is more anomalous.

        Without labels 0 is the mean of held-out normals and 1 their standard deviation, or a little
        less where the score rests on the whole image beside places, or on places beside what is
        pooled; labels add to it.

        Raises:
            ValueError: An image cannot be read.

        Example:
            >>> scores = model.decision_function(np.concatenate([zeros[60:70], ones[10:20]]))
            >>> bool(scores[:10].max() < scores[10:].mean())
            True
        """
        scores = self.score_images(X, progress=progress)
        if scores.errors:
            raise ValueError(next(iter(scores.errors.values())))
        return scores.score

    def score_images(self, X: object, *, progress: StageProgress | None = None) -> Scores:
        """Score images of which some may be unreadable: those get NaN and an error.

        Example:
            >>> open("empty.png", "wb").close()
            >>> scores = model.score_images("empty.png")
            >>> bool(np.isnan(scores.score[0])), scores.errors[0]
            (True, 'empty.png: the file is empty (0 bytes); remove it or export it again.')
        """
        return joined_scores(self.score_batches(X, progress=progress))

    def rests_on(self, rule: str | float | Rule | None = None) -> Resting | None:
        """Name the one held-out normal on which a threshold of false alarms rests, or None.

        The threshold rests on it where it would be lower by more than a standard deviation of the
        others without it, see :func:`~anomem.decision.threshold.rests_on`.

        Example:
            >>> model.rests_on(0.05) is None  # no single normal decides
            True
        """
        rule = self._rule_of(rule)
        if not isinstance(rule, FalseAlarms):
            return None
        with warnings.catch_warnings(action="ignore"):  # threshold() gives them
            threshold = self.threshold(rule)
        return rests_on(self.calibration(), self.held_out_names(), threshold)

    def p_value(self, X: object) -> npt.NDArray[np.float64]:
        """Give the split-conformal p-value of each image, (N,) in (0, 1]; small is anomalous.

        A normal image has ``p <= alpha`` with probability at most alpha, on average over draws of
        the held-out normals; n groups of them give no p-value below ``1 / (n + 1)``.

        Example:
            >>> p = model.p_value(ones[10:13])
            >>> bool((p <= 0.1).all())
            True
        """
        return p_values(self.decision_function(X), self.calibration())

    def predict(self, X: object, rule: str | float | Rule | None = None) -> npt.NDArray[np.int64]:
        """Decide for each image by a rule of :meth:`threshold`, (N,): 0 normal, 1 anomalous.

        Example:
            >>> model.predict(ones[10:13], rule=0.1).tolist()
            [1, 1, 1]
        """
        threshold = self.threshold(rule)
        return (self.decision_function(X) > threshold).astype(np.int64)

    def threshold(self, rule: str | float | Rule | None = None) -> float:
        """Give the score above which :meth:`predict` calls an image anomalous.

        Args:
            rule: A share alpha of normal images that may be called anomalous, on average over draws
                of the held-out normals; or "f1", "find-labelled" or "cost:MISS:SHARE", which weigh
                held-out normals against labelled anomalies, see :mod:`anomem.decision.threshold`.
                That of the detector (0.05) unless given.

        Raises:
            ValueError: There is no such rule, or it needs labelled anomalies and there are none.

        Warns:
            UserWarning: Alpha needs more held-out normals than there are; the smallest supported
                one is used in its place.

        Example:
            >>> model.threshold(0.1) < model.threshold(0.05)
            True
            >>> bool(model.threshold("find-labelled") < model.unseen_anomalies().min())
            True
        """
        return threshold_by(self._rule_of(rule), self.calibration(), self.unseen_anomalies)

    def _rule_of(self, rule: str | float | Rule | None) -> Rule:
        return rule_of(self.rule if rule is None else rule)

    def promise(self, rule: str | float | Rule | None) -> Promise | None:
        """Tell what the rule "find-labelled" promises of new images; None of any other rule.

        Example:
            >>> model.promise("find-labelled").anomalies
            5
            >>> model.promise(0.05) is None
            True
        """
        if not isinstance(self._rule_of(rule), FindLabelled):
            return None
        scores = self.calibration().scores
        anomalies, learnt = self.labelled_anomalies()
        alarms = int((scores > self.threshold(rule)).sum())
        return Promise(anomalies=anomalies, learnt=learnt, alarms=alarms, held_out=len(scores))

    def heat_maps(self, X: object, *, progress: StageProgress | None = None) -> Iterator[Heat]:
        """Give the heat of :meth:`explain` for each image in order, measured in batches.

        Args:
            X: N images.
            progress: Called as ``progress(stage, done, total)``.

        Yields:
            H x W float32, of the size of the image.

        Raises:
            ValueError: An image cannot be read.

        Example:
            >>> [heat.shape for heat in model.heat_maps(ones[:2])]
            [(16, 16), (16, 16)]
        """
        for heat in self.heat_images(X, progress=progress):
            if isinstance(heat, str):
                raise ValueError(heat)
            yield heat
