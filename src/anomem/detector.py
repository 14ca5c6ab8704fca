"""The detector for its whole life: fit, adapt, score, explain, save, load."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted

from anomem import fitting, saved
from anomem.calibration import hold_out, p_values
from anomem.cross_fitting import unseen_scores
from anomem.data.joined import JoinedSource, check_labels
from anomem.data.prepare import prepare
from anomem.data.sources import FileSource, ImageSource, open_images
from anomem.estimator import Configured
from anomem.explanation import Explanation, explain
from anomem.fine_tuning import LabelledImages, fine_tune
from anomem.presets import resolve
from anomem.rules import Rule, rule_of, threshold_by
from anomem.scoring import Scores, score_measured, score_source
from anomem.versions import library_versions

StageProgress = Callable[[str, int, int], None]


class AnoMem(Configured):
    """Image anomaly detection by multi-scale contrasted memory, as a scikit-learn estimator.

    Images X are, everywhere: a path or paths (folder, file, glob), a uint8 or uint16 array
    N x H x W x 3 or N x H x W, a list of PIL images, or a map-style torch ``Dataset``.

    Args:
        config: Name of a preset, or a :class:`~anomem.config.Config`.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        seed: Of every random draw; the same seed on the same machine gives the same
            scores, unless ``stage1.max_seconds`` makes the number of steps depend on the clock.

    Attributes:
        config_: The configuration in use, a ``Config``.
        shape_: Channels, height and width that images are brought to.
        network_: Encoder and memories.
        detector_: Heads and fusion.
        reserve_: What is kept of the images, to adapt and to calibrate.
        summary_: Numbers of images, steps, seconds and loss of the training; library versions.
    """

    def fit(
        self,
        X: object,
        y: npt.ArrayLike | None = None,
        *,
        anomalies: object = None,
        groups: Sequence[str] | None = None,
        checkpoint: str | Path | None = None,
        progress: StageProgress | None = None,
    ) -> Self:
        """Learn the normal, and the labelled anomalies where there are any.

        Args:
            X: Images.
            y: Label of each image of X, 0 normal or 1 anomalous; None means all are normal.
            anomalies: Further images, all anomalous.
            groups: Part, lot, subject or video of each image of X: held-out normals never share
                a group with training normals.
            checkpoint: File that keeps the state of stage 1 as it goes. If it exists, the run
                goes on from it, and ends with the scores of the uninterrupted run.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Too few normals, unreadable images, or labels that do not fit; one
                sentence says what to do.
        """
        config = resolve(self.config)
        fabric = fitting.make_fabric(self.device)
        source = open_images(X)
        label = check_labels(y, len(source))
        if groups is not None and len(groups) != len(source):
            raise ValueError(
                f"there are {len(groups)} groups for {len(source)} images; give one each."
            )
        normal_groups = (
            None if groups is None else [groups[int(i)] for i in np.flatnonzero(label == 0)]
        )
        split = hold_out(
            int((label == 0).sum()), config.calibration.share, self.seed, normal_groups
        )
        if anomalies is not None:
            more = open_images(anomalies)
            _refuse_overlap(source, more)
            source = JoinedSource([source, more])
            label = np.concatenate([label, np.ones(len(more), dtype=np.int64)])
        shape = fitting.image_shape(config, source)
        images = fitting.TrainingImages.of(
            prepare(source, shape, progress=_stage(progress, "reading")), label, split
        )
        network = fitting.new_network(config, shape, images.normals, fabric, self.seed)
        state = fitting.run_stage1(
            network,
            images,
            config,
            fabric=fabric,
            seed=self.seed,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            progress=_stage(progress, "stage 1"),
        )
        self.config_, self.shape_, self.network_ = config, shape, network
        self.reserve_ = fitting.fill_reserve(network, images, config, self.seed)
        self.summary_ = {**fitting.summary(state, images), "versions": library_versions()}
        self._train_detector()
        return self

    def adapt(
        self,
        X: object,
        y: npt.ArrayLike,
        *,
        depth: Literal["heads", "encoder"] = "heads",
        normal: object = None,
        progress: StageProgress | None = None,
    ) -> Self:
        """Learn from labelled images, together with all that were labelled before.

        With all labels given here taken back, the one-class detector returns exactly; labels given
        to ``fit`` or at depth "encoder" have shaped the encoder too. Labels of normals count once
        there is an anomalous one.

        At depth "heads" only stage 2 is trained again, in seconds; encoder and memories stay as
        they are, and no earlier image is needed. At depth "encoder", encoder and memories are
        first trained on for a fifth of the steps (and time) of the fit, with labelled anomalies
        drawn in balance with the normals.

        Args:
            X: Labelled images.
            y: Label of each: 0 normal, 1 anomalous, -1 to take back an earlier label.
            depth: What is trained.
            normal: Normal images, those of the fit and new ones, for depth "encoder". Those held
                out by the fit are known again and stay held out.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Labels that do not fit, unreadable images, or, at depth "encoder",
                missing normals or missing images of earlier labels.
        """
        check_is_fitted(self, "network_")
        if depth not in ("heads", "encoder"):
            raise ValueError(f"depth is {depth!r}; give heads or encoder.")
        source = open_images(X)
        label = check_labels(y, len(source), (-1, 0, 1))
        images = prepare(source, self.shape_, progress=_stage(progress, "reading"))
        if depth == "encoder":
            if normal is None:
                raise ValueError(
                    'depth="encoder" trains on normals too; give them as normal=, or use '
                    'depth="heads".'
                )
            normals = prepare(open_images(normal), self.shape_)
            network = copy.deepcopy(self.network_)
            reserve, self.summary_["fine_tuning"] = fine_tune(
                network,
                self.reserve_,
                LabelledImages(images, torch.from_numpy(label)),
                normals,
                self.config_,
                fabric=fitting.make_fabric(self.device),
                steps=self.summary_["steps"],
                seed=self.seed,
                progress=_stage(progress, "stage 1"),
            )
            self.network_, self.reserve_ = network, reserve
        else:
            newer = fitting.measure_labelled(
                self.network_, images, torch.from_numpy(label), self.reserve_.normals
            )
            labelled = self.reserve_.labelled.updated(newer)
            self.reserve_ = self.reserve_.with_labels(labelled)
        self._train_detector()
        return self

    def decision_function(
        self, X: object, *, progress: StageProgress | None = None
    ) -> npt.NDArray[np.float32]:
        """Anomaly score of each image, (N,) float32, higher is more anomalous.

        Without labels 0 is about the mean of normals and 1 about their standard deviation; the
        heads add to it.

        Raises:
            ValueError: An image cannot be read.
        """
        scores = self.score_images(X, progress=progress)
        if scores.errors:
            raise ValueError(next(iter(scores.errors.values())))
        return scores.score

    def score_images(self, X: object, *, progress: StageProgress | None = None) -> Scores:
        """Scores of images of which some may be unreadable: those get NaN and an error."""
        check_is_fitted(self, "network_")
        return score_source(
            self.network_,
            self.detector_,
            open_images(X),
            self.shape_,
            progress=_stage(progress, "scoring"),
        )

    def held_out_scores(self) -> npt.NDArray[np.float32]:
        """Scores (n,) of the held-out normals not labelled since, on which decisions rest."""
        check_is_fitted(self, "network_")
        return score_measured(self.detector_, self.reserve_.calibrating()).numpy()

    def p_value(self, X: object) -> npt.NDArray[np.float64]:
        """Split-conformal p-value of each image, (N,) in (0, 1]; small is anomalous.

        A normal image has ``p <= alpha`` with probability at most alpha, on average over draws of
        the held-out normals; n of them give no p-value below ``1 / (n + 1)``.
        """
        return p_values(self.decision_function(X), self.held_out_scores())

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
                draws of the held-out normals; or "f1", "zero-escapes" or "cost:MISS:SHARE", which
                weigh held-out normals against labelled anomalies, as ``anomem.rules`` says.

        Raises:
            ValueError: There is no such rule, or it needs labelled anomalies and there are none.

        Warns:
            UserWarning: Alpha needs more held-out normals than there are; the smallest supported
                one is used in its place.
        """
        check_is_fitted(self, "network_")
        return threshold_by(rule_of(rule), self.held_out_scores(), self._unseen_scores)

    def explain(self, image: object) -> Explanation:
        """Score of one image, of each scale, and the deviation map of each scale.

        Args:
            image: A path, a PIL image, or an array H x W x 3 or H x W.
        """
        check_is_fitted(self, "network_")
        usual = self.reserve_.normals.scores.mean(dim=0)
        return explain(image, self.shape_, self.network_, self.detector_, usual)

    def save(self, path: str | Path) -> None:
        """Write the model folder, atomically; an older model there is replaced."""
        check_is_fitted(self, "network_")
        saved.save(self, Path(path))

    def _unseen_scores(self) -> npt.NDArray[np.float32]:
        """Scores of the labelled anomalies, each without its own label."""
        widths = self.network_.pooled_widths
        return unseen_scores(self.reserve_, widths, self.config_, self.seed).numpy()

    def _train_detector(self) -> None:
        widths = self.network_.pooled_widths
        self.detector_ = fitting.train_detector(self.reserve_, widths, self.config_, self.seed)


def _refuse_overlap(normals: ImageSource, anomalies: ImageSource) -> None:
    if isinstance(normals, FileSource) and isinstance(anomalies, FileSource):
        paths = {Path(name).resolve() for name in normals.names}
        for name in anomalies.names:
            if Path(name).resolve() in paths:
                raise ValueError(
                    f"{name} is among the normals and among the anomalies; keep the folders apart."
                )


def _stage(progress: StageProgress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, name)
