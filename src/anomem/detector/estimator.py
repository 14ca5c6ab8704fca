"""AnoMem: one detector for its whole life, as an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from anomem.config import Config
from anomem.config.presets import AUTO, Automatic, automatic, given_choices
from anomem.decision.calibrate import Calibration
from anomem.decision.ready import ReadyDetector
from anomem.decision.scores import Heat, Scores
from anomem.detector import adapt, extend, fine_tune, fit, model_folder
from anomem.detector.detector import Detector
from anomem.detector.explain import Explanation, explain
from anomem.detector.feature_bank import FeatureBank
from anomem.detector.fit import FitRun
from anomem.detector.heat_maps import heat_maps
from anomem.detector.origins import Origin
from anomem.detector.parameters import WithChoices
from anomem.detector.score import score_source
from anomem.detector.train_scorer import calibration_of, unseen_scores
from anomem.images.framing import Framing
from anomem.images.labels import check_labels
from anomem.images.masks import MaskLike
from anomem.images.open import open_images
from anomem.model.heat import HeatModel
from anomem.model.network import MultiScaleMemory
from anomem.model.pretrained_weights import weights_file
from anomem.model.scorer import Scorer
from anomem.runtime.allocator import give_back_freed_memory
from anomem.runtime.device import make_fabric
from anomem.runtime.loggers import TrainingLogger, check_logs
from anomem.runtime.processes import join_processes, leads
from anomem.runtime.progress import StageProgress, stage


class AnoMem(WithChoices, ReadyDetector):
    """Detects anomalous images by multi-scale contrasted memory, as a scikit-learn estimator.

    Images X are, everywhere: a path or paths (folder, file, glob), a uint8 or uint16 array
    N x H x W x 3 or N x H x W, a list of PIL images, a map-style torch ``Dataset``, a data frame
    with a column of paths, or a ``Dataset`` of Hugging Face.

    Args:
        config: Name of a preset, or a :class:`~anomem.config.Config`. "auto" (the default) looks at
            the images of the fit and at the weights on this machine, and takes the preset
            "pretrained" for images of 20 pixels and more, or else "scratch".
        device: "cpu", "cuda", "cuda:1" or "mps"; "auto" (default) is cuda or else cpu.
        devices: Processes on each node, 1 by default, that share stage 1 of a fit, one a GPU where
            there are GPUs. ``stage1.batch`` is that of all together, and what they learn is what
            one would. Each ends with the whole detector; the first should write it.
        nodes: Machines, 1 by default, see :func:`~anomem.runtime.processes.join_processes`.
        log: Where the figures of stage 1 go as it is trained, and heat maps of the same few images
            over time: nowhere by default; "tensorboard:FOLDER", "wandb:PROJECT", "mlflow:URI",
            "csv:FILE" (figures alone), or a logger of Lightning; several as a sequence.
        seed: Of every random draw, 0 by default; the same seed and number of threads on the same
            machine give the same scores, unless ``stage1.max_seconds`` makes the steps depend on
            the clock. With another number of threads sums are rounded otherwise, and scores differ.

    Attributes:
        config_: The configuration in use, a ``Config``.
        framing_: How images become frames of one shape.
        network_: Encoder and memories.
        origins_: The frames of training images of which the prototypes of memories of places are.
        scorer_: Heads and fusion.
        heat_: What is usual at each place of an image, for each kind of normal.
        bank_: What is kept of the images, to adapt and to calibrate.
        summary_: The preset that the fit chose, and why; numbers of images, steps, seconds and loss
            of the training; library versions.

    Example:
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from anomem import AnoMem
        >>> pixels, digit = load_digits(return_X_y=True)
        >>> images = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
        >>> zeros, ones = images[digit == 0], images[digit == 1]
        >>> model = AnoMem("scratch", seed=0)
        >>> model = model.set_params(config__stage1__min_steps=20, config__stage1__max_steps=20)
        >>> model = model.fit(zeros[:60])
        >>> scores = model.decision_function(np.concatenate([zeros[60:70], ones[:10]]))
        >>> bool(scores[:10].mean() < scores[10:].mean())
        True
        >>> model = model.adapt(ones[:5], [1] * 5)
        >>> model.predict(ones[10:13], rule=0.1).tolist()
        [1, 1, 1]
    """

    config_: Config
    framing_: Framing
    network_: MultiScaleMemory
    origins_: tuple[Origin, ...]
    scorer_: Scorer
    heat_: list[HeatModel]
    bank_: FeatureBank
    summary_: dict[str, Any]
    _calibrated: tuple[FeatureBank, Scorer, Calibration] | None = None

    def __init__(
        self,
        config: str | Config | Automatic = AUTO,
        *,
        device: str = "auto",
        devices: int = 1,
        nodes: int = 1,
        log: str | TrainingLogger | Sequence[str | TrainingLogger] = (),
        seed: int = 0,
    ) -> None:
        self.config = config
        self.device = device
        self.devices = devices
        self.nodes = nodes
        self.log = log
        self.seed = seed

    def fit(
        self,
        X: object,
        y: npt.ArrayLike | None = None,
        *,
        anomalies: object = None,
        groups: Sequence[str] | None = None,
        region: str | Path | npt.ArrayLike | None = None,
        checkpoint: str | Path | None = None,
        progress: StageProgress | None = None,
    ) -> Self:
        """Learn the normal, and the labelled anomalies where there are any.

        Args:
            X: Images.
            y: Label of each image of X, 0 normal or 1 anomalous; None means all are normal.
            anomalies: Further images, all anomalous; None for none.
            groups: Part, lot, subject or video of each image of X: held-out normals never share
                a group with training normals. None makes each image one, with its copies.
            region: Where anomalies count: a mask (image file or array H x W) or corners, see
                :func:`~anomem.images.region.read_region`; None is everywhere. What lies outside
                takes no part in anything.
            checkpoint: File that keeps the state of stage 1 as it goes; None for none. If it is
                there, the run goes on from it with as many threads, and ends with the scores of the
                uninterrupted run. A file of other images, told by their pixels, is refused.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Too few normals, unreadable images, or labels that do not fit; one
                sentence says what to do.

        Example:
            >>> model = model.fit(np.concatenate([zeros[:60], ones[:5]]), [0] * 60 + [1] * 5)
            >>> model.labelled_anomalies()
            (5, 5)
        """
        run = self._run(checkpoint, progress)
        found = fit.fit(X, y, run, anomalies=anomalies, groups=groups, region=region)
        return self._keep(found)

    def fit_stream(
        self,
        X: object,
        *,
        anomalies: object = None,
        region: str | Path | npt.ArrayLike | None = None,
        checkpoint: str | Path | None = None,
        progress: StageProgress | None = None,
    ) -> Self:
        """Learn the normal from more images than fit into memory, read as they are trained on.

        Held-out normals and a sample of the others, at most 3,000 images, are read first. Images
        that cannot be read are left out, with a warning.

        Args:
            X: Normal images in files, in Parquet files or on object storage.
            anomalies: As of :meth:`fit`.
            region: As of there.
            checkpoint: As of there; what was read before is read again.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Too few normals, images that are not stored or are to be cut into tiles, or
                Hugging Face ``datasets`` is missing.

        Example:
            >>> from PIL import Image
            >>> for index, image in enumerate(zeros[:60]):
            ...     Image.fromarray(image).save(f"{index}.png")
            >>> model = model.fit_stream("*.png")
            >>> bool(model.decision_function(ones[:10]).mean() > 0)
            True
        """
        run = self._run(checkpoint, progress)
        return self._keep(fit.fit_stream(X, run, anomalies=anomalies, region=region))

    def adapt(
        self,
        X: object,
        y: npt.ArrayLike,
        *,
        depth: Literal["heads", "encoder"] = "heads",
        normal: object = None,
        masks: Sequence[MaskLike | None] | None = None,
        progress: StageProgress | None = None,
    ) -> Self:
        """Learn from labelled images, together with all that were labelled before.

        With all labels given here taken back, the one-class detector returns exactly; those of a
        ``fit`` or of depth "encoder" have shaped the encoder too. Labelled normals join what is
        usual, and what deviates as they do scores lower; memories of places recall their most
        deviating places too. Held-out normals labelled normal stay in the calibration, scored as
        if they had not been labelled.

        At depth "heads" only stage 2 is trained again, in seconds; encoder and prototypes stay as
        they are, and no earlier image is needed. At depth "encoder", encoder and memories are
        first trained on for a fifth of the steps (and time) of the fit, with labelled anomalies
        drawn in balance with the normals.

        Args:
            X: Labelled images.
            y: Label of each: 0 normal, 1 anomalous, -1 to take back an earlier label. An image is
                known by its pixels, however it is given.
            depth: What is trained, "heads" unless given.
            normal: Normal images, those of the fit and new ones, for depth "encoder". Those held
                out by the fit are known again and stay held out.
            masks: Where each labelled anomaly is, one for each of X, None where there is none: an
                image file, see :func:`~anomem.images.masks.read_mask`, or an array H x W, not 0
                where it is marked. Memories of places then learn from what deviates there alone; a
                mask that marks nothing counts as none. None is no masks.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Labels that do not fit (such as 1 and -1 of scikit-learn, or one image under
                two labels), unreadable images, or, at depth "encoder", missing normals, missing
                images of earlier labels, or a model that has learnt further kinds of normal
                (:meth:`extend`).

        Example:
            >>> before = model.decision_function(ones[10:20])
            >>> model = model.adapt(ones[20:30], [1] * 10)
            >>> bool((model.decision_function(ones[10:20]) > before).all())
            True
        """
        detector = self.detector()
        if depth not in ("heads", "encoder"):
            raise ValueError(f"depth is {depth!r}; give heads or encoder.")
        source = open_images(X)
        label = check_labels(y, len(source), (-1, 0, 1))
        if depth == "heads":
            return self._keep(adapt.adapt(detector, source, label, masks, progress=progress))
        if masks is not None:
            adapt.check_masks(detector.network, label, masks)
        fabric = make_fabric(self.device, self.config_.compute.precision)
        return self._keep(
            fine_tune.fine_tune(detector, source, label, normal, fabric=fabric, progress=progress)
        )

    def set_aside(self, X: object, *, progress: StageProgress | None = None) -> Self:
        """Leave held-out normals out of what decisions rest on.

        A person who looks at an image decides that it is no good normal, as where it is torn or
        out of focus, and no anomaly to learn from either. The promised rate of false alarms then
        holds for normals that this person would not have set aside. The model records the images,
        and :meth:`forget` brings them back.

        Args:
            X: Images that the fit held out, as they were given to it.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Unreadable images, one that was not held out, or none would be left.

        Example:
            >>> torn = int(model.held_out_names()[0].removeprefix("image "))
            >>> before = len(model.calibration())
            >>> before - len(model.set_aside(zeros[torn : torn + 1]).calibration())
            1
        """
        return self._keep(adapt.set_aside(self.detector(), open_images(X), progress=progress))

    def forget(self, X: object, *, progress: StageProgress | None = None) -> Self:
        """Take back the labels of images, or that they are set aside; others are passed by.

        Images are known by their pixels, however they are given.

        Raises:
            ValueError: Unreadable images.

        Example:
            >>> model.labelled_anomalies()[0]
            5
            >>> model.forget(ones[:2]).labelled_anomalies()[0]
            3
        """
        return self._keep(adapt.forget(self.detector(), open_images(X), progress=progress))

    def extend(
        self,
        X: object,
        *,
        groups: Sequence[str] | None = None,
        progress: StageProgress | None = None,
    ) -> Self:
        """Learn a new kind of normal beside those known, in seconds and without earlier images.

        Encoder, memories and labels stay as they are: what is usual is measured anew over all kinds
        together, and decisions rest on held-out normals of all of them.

        Args:
            X: Images, all normal.
            groups: As of :meth:`fit`.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Too few normals, or unreadable images.

        Example:
            >>> before = model.decision_function(ones[50:]).mean()
            >>> model = model.extend(ones[10:50])
            >>> bool(model.decision_function(ones[50:]).mean() < before)
            True
        """
        detector = self.detector()
        return self._keep(extend.extend(detector, open_images(X), groups, progress=progress))

    def score_batches(
        self, X: object, *, progress: StageProgress | None = None
    ) -> Iterator[tuple[range, Scores]]:
        """Score as :meth:`score_images` does, a batch and the indices of its images at a time.

        Example:
            >>> for indices, scores in model.score_batches(ones[:3]):
            ...     print(indices, scores.score.shape)
            range(0, 3) (3,)
        """
        return score_source(self.detector(), open_images(X), stage(progress, "scoring"))

    @property
    def classes_(self) -> npt.NDArray[np.int64]:
        """What :meth:`predict` tells apart: 0 normal, 1 anomalous. scikit-learn asks for it.

        Example:
            >>> model.classes_.tolist()
            [0, 1]
        """
        check_is_fitted(self, "network_")
        return np.array([0, 1])

    def calibration(self) -> Calibration:
        """Give the scores of the held-out normals, on which decisions rest.

        Those labelled normal since are scored as if they had not been labelled; those labelled
        anomalous or set aside are left out. All are raised a little, see
        :func:`~anomem.decision.calibrate.raised`.

        Example:
            >>> calibration = model.calibration()
            >>> len(calibration) == len(model.held_out_names())
            True
        """
        detector = self.detector()
        # Where held-out normals are labelled, each call would train a scorer for every fold.
        known = self._calibrated
        if known is None or known[0] is not detector.bank or known[1] is not detector.scorer:
            known = (detector.bank, detector.scorer, calibration_of(detector))
            self._calibrated = known
        return known[2]

    def held_out_names(self) -> list[str]:
        """Name the held-out normals on which decisions rest, in the order of their scores.

        Example:
            >>> model.held_out_names()[:2]
            ['image 2', 'image 4']
        """
        bank = self.detector().bank
        return [bank.held_out_name[index] for index in bank.deciding().nonzero().flatten().tolist()]

    def unseen_anomalies(self) -> npt.NDArray[np.float32]:
        """Score each labelled anomaly (A,) by heads that were trained on the other labels.

        Example:
            >>> model.unseen_anomalies().shape
            (5,)
        """
        return unseen_scores(self.detector())

    def labelled_anomalies(self) -> tuple[int, int]:
        """Count labelled anomalies, and how many of these the training has learnt from.

        Example:
            >>> model.labelled_anomalies()
            (5, 0)
        """
        bank = self.detector().bank
        return int((bank.labelled.label == 1).sum()), int(bank.learnt().sum())

    def explain(self, image: object) -> Explanation:
        """Explain one image: a path, a PIL image, or an array H x W x 3 or H x W.

        Example:
            >>> explanation = model.explain(ones[10])
            >>> explanation.heat.shape, sorted(explanation.scale_scores)
            ((16, 16), ['scale_1', 'scale_2'])
        """
        return explain(self.detector(), image)

    def heat_images(
        self, X: object, *, progress: StageProgress | None = None
    ) -> Iterator[Heat | str]:
        """Give heat as :meth:`heat_maps` does, or why an image has none, in a sentence.

        Example:
            >>> [heat.shape for heat in model.heat_images(ones[:2])]
            [(16, 16), (16, 16)]
        """
        return heat_maps(self.detector(), open_images(X), stage(progress, "heat maps"))

    def save(self, path: str | Path) -> None:
        """Write the model folder, atomically; an older model there is replaced.

        Of the processes that share a fit (``devices``, ``nodes``) the first alone writes it.

        Raises:
            WriteError: It cannot be written; the older model is as it was.

        Example:
            >>> model.save("digits")
            >>> from anomem import load
            >>> scores = load("digits").decision_function(ones)
            >>> bool((scores == model.decision_function(ones)).all())
            True
        """
        detector = self.detector()
        if self.devices * self.nodes == 1 or leads():
            model_folder.save(detector, Path(path))

    def _run(self, checkpoint: str | Path | None, progress: StageProgress | None) -> FitRun:
        """The choices of a fit, its processes, and whom to tell: of several, the first tells."""
        config = given_choices(self.config)
        log = self.log
        logs = [log] if isinstance(log, str) or not isinstance(log, Sequence) else log
        check_logs(logs)
        if config.encoder.weights is not None:
            weights_file(config.encoder.weights)  # or their lack is told when all images are read
        fabric = join_processes(
            self.device, config.compute.precision, devices=self.devices, nodes=self.nodes
        )
        kept = None if checkpoint is None else Path(checkpoint)
        return FitRun(
            config,
            fabric,
            self.seed,
            automatic=automatic(self.config),
            checkpoint=kept,
            logs=logs,
            progress=progress if fabric.is_global_zero else None,
        )

    def _keep(self, detector: Detector) -> Self:
        """Take the parts of a detector for the own attributes."""
        for part in fields(Detector):
            if part.name != "seed":
                setattr(self, f"{part.name}_", getattr(detector, part.name))
        give_back_freed_memory()
        return self

    def detector(self) -> Detector:
        """Give the parts of this detector, as the functions of the package take them.

        Example:
            >>> model.detector().framing.shape.height
            16
        """
        check_is_fitted(self, "network_")
        own = [part.name for part in fields(Detector) if part.name != "seed"]
        return Detector(**{name: getattr(self, f"{name}_") for name in own}, seed=self.seed)


def load_trained(path: str | Path, *, device: str = "auto") -> AnoMem:
    """Load a saved detector, on any device, to use it and to teach it.

    The folder may be anybody's: no code of it is run, nothing that it names is opened or fetched,
    and before memory is taken every shape is held against what its choices ask for.

    Args:
        path: A model folder.
        device: As of :class:`AnoMem`, "auto" by default.

    Raises:
        ModelError: The folder is not a whole model of this format, or a number in it is not finite
            or out of its range.
    """
    detector = model_folder.load(Path(path), make_fabric(device).device)
    model = AnoMem(detector.config, device=device, seed=detector.seed)
    return model._keep(detector)
