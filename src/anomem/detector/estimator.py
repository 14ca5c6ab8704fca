"""The detector for its whole life: fit, adapt, score, explain, save, load."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from sklearn.utils.validation import check_is_fitted

from anomem.config import Config
from anomem.config.presets import resolve
from anomem.detector import fit as fitting
from anomem.detector import model_folder as saved
from anomem.detector.adapt import fine_tune
from anomem.detector.copies import leave_out_known, refuse_two_labels
from anomem.detector.fitted import Fitted
from anomem.detector.identity import full_digests, identities, measured_digests
from anomem.detector.measuring import (
    extract_labelled,
    fill_bank,
    fit_heat,
    one_frame_each,
    refuse_conflicts,
)
from anomem.detector.streamed import streamed_images
from anomem.detector.training_images import TrainingImages
from anomem.images.combined import choose
from anomem.images.framing import Framing
from anomem.images.labels import check_labels, with_anomalies
from anomem.images.open import open_images
from anomem.images.prepare import prepare_frames
from anomem.images.stream import check_streaming
from anomem.model.pretrained_weights import weights_file
from anomem.runtime.device import give_back_freed_memory, make_fabric, threads_given_back
from anomem.runtime.processes import join_processes, joined, leads, together
from anomem.runtime.progress import StageProgress, stage
from anomem.runtime.versions import library_versions


class AnoMem(Fitted):
    """Image anomaly detection by multi-scale contrasted memory, as a scikit-learn estimator.

    Images X are, everywhere: a path or paths (folder, file, glob), a uint8 or uint16 array
    N x H x W x 3 or N x H x W, a list of PIL images, or a map-style torch ``Dataset``.

    Args:
        config: Name of a preset, or a :class:`~anomem.config.Config`.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        devices: Processes on each node that share stage 1 of a fit, one a GPU where there are GPUs.
            ``stage1.batch`` is that of all together, and what they learn is what one would. Each
            ends with the whole detector; the first should write it.
        nodes: Machines that share it, see :func:`~anomem.runtime.processes.join_processes`.
        seed: Of every random draw; the same seed and number of threads on the same machine give
            the same scores, unless ``stage1.max_seconds`` makes the number of steps depend on the
            clock. With another number of threads sums are rounded otherwise, and scores differ.

    Attributes:
        config_: The configuration in use, a ``Config``.
        framing_: How images become frames of one shape.
        network_: Encoder and memories.
        scorer_: Heads and fusion.
        heat_: What is usual at each place of an image, for each kind of normal.
        bank_: What is kept of the images, to adapt and to calibrate.
        summary_: Numbers of images, steps, seconds and loss of the training; library versions.
    """

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
            anomalies: Further images, all anomalous.
            groups: Part, lot, subject or video of each image of X: held-out normals never share
                a group with training normals.
            region: Where anomalies count: a mask (image file or array H x W) or corners, see
                :func:`~anomem.images.region.read_region`; None is everywhere. What lies outside
                takes no part in anything.
            checkpoint: File that keeps the state of stage 1 as it goes. If it exists, the run
                goes on from it with as many threads, and ends with the scores of the uninterrupted
                run. A file of other images, told by their pixels, is refused.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Too few normals, unreadable images, or labels that do not fit; one
                sentence says what to do.
        """
        config, fabric, progress = self._begin(progress)
        source = open_images(X)
        label = check_labels(y, len(source))
        fitting.check_normals(label, groups)
        if anomalies is not None:
            source, label = with_anomalies(source, label, open_images(anomalies))
        framing = fitting.new_framing(config, source, region)
        later = None
        if framing.cuts and label.any():
            # Which tile of an anomaly shows it is known once there is a score.
            normals = np.flatnonzero(label == 0)
            later = choose(source, np.flatnonzero(label == 1))
            source, label = choose(source, normals), label[normals]
            groups = None if groups is None else [groups[index] for index in normals.tolist()]
        prepared = prepare_frames(source, framing, progress=stage(progress, "reading"))
        known = identities(source.names, prepared, groups)
        odd = known.where(label == 1)
        if later is not None:
            odd = identities(later.names, prepare_frames(later, framing))
        refuse_two_labels(known.where(label == 0), odd)
        split = fitting.split_normals(label, known, config.calibration.share, self.seed)
        images = TrainingImages.of(prepared.frames, prepared.image, label, split, known)
        if label.any():
            labelled = choose(source, np.flatnonzero(label == 1))
            images = replace(images, anomaly_pixels=full_digests(labelled, framing))
        self._learn(images, framing, config, fabric, checkpoint, progress)
        if later is not None:
            self.adapt(later, np.ones(len(later), dtype=np.int64))
        return self

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
        that cannot be read are left out.

        Args:
            X: Normal images in files, in Parquet files or on object storage.
            anomalies: As of :meth:`fit`.
            region: As of there.
            checkpoint: As of there; what was read before is read again.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Too few normals, images that are not stored or are to be cut into tiles, or
                Hugging Face ``datasets`` is missing.

        Warns:
            UserWarning: Images could not be read.
        """
        check_streaming()
        config, fabric, progress = self._begin(progress)
        source = open_images(X)
        framing = fitting.new_framing(config, source, region)
        images, stream = streamed_images(
            source, anomalies, framing, config, fabric=fabric, seed=self.seed
        )
        self._learn(images, framing, config, fabric, checkpoint, progress)
        errors = joined(fabric, stream.errors)
        if errors and fabric.is_global_zero:
            warnings.warn(
                f"{len(errors)} images could not be read and were left out, as "
                f"{next(iter(errors.values()))}",
                stacklevel=2,
            )
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
        to ``fit`` or at depth "encoder" have shaped the encoder too. Labelled normals join what
        is usual: they, and what deviates as they do, score lower. Held-out normals that are
        labelled normal stay in the calibration, scored as if they had not been labelled.

        At depth "heads" only stage 2 is trained again, in seconds; encoder and memories stay as
        they are, and no earlier image is needed. At depth "encoder", encoder and memories are
        first trained on for a fifth of the steps (and time) of the fit, with labelled anomalies
        drawn in balance with the normals.

        Args:
            X: Labelled images.
            y: Label of each: 0 normal, 1 anomalous, -1 to take back an earlier label. An image is
                known by its pixels, however it is given.
            depth: What is trained.
            normal: Normal images, those of the fit and new ones, for depth "encoder". Those held
                out by the fit are known again and stay held out.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Labels that do not fit (such as 1 and -1 of scikit-learn, or one image under
                two labels), unreadable images, or, at depth "encoder", missing normals, missing
                images of earlier labels, or a model that has learnt further kinds of normal
                (:meth:`extend`).
        """
        check_is_fitted(self, "network_")
        if depth not in ("heads", "encoder"):
            raise ValueError(f"depth is {depth!r}; give heads or encoder.")
        source = open_images(X)
        label = check_labels(y, len(source), (-1, 0, 1))
        images = prepare_frames(source, self.framing_, progress=stage(progress, "reading"))
        pixels = full_digests(source, self.framing_)
        given = one_frame_each(self.network_, self.scorer_, images, torch.from_numpy(label), pixels)
        refuse_conflicts(given, source.names, self.bank_.labelled)
        if depth == "encoder":
            if normal is None:
                raise ValueError(
                    'depth="encoder" trains on normals too; give them as normal=, or use '
                    'depth="heads".'
                )
            kinds = len(self.heat_) - 1
            if kinds:
                raise ValueError(
                    f"the model has learnt {kinds} further kind{'s' * (kinds > 1)} of normal by "
                    'extend, which depth="encoder" would forget; use depth="heads", or fit on '
                    "images of all kinds."
                )
            network = copy.deepcopy(self.network_)
            self.bank_, trained, self.summary_["fine_tuning"] = fine_tune(
                network,
                self.bank_,
                given,
                prepare_frames(open_images(normal), self.framing_),
                self.config_,
                fabric=make_fabric(self.device, self.config_.compute.precision),
                steps=self.summary_["steps"],
                seed=self.seed,
                progress=stage(progress, "stage 1"),
            )
            self.network_ = network
            self.heat_ = [fit_heat(network, trained, anywhere=self.framing_.cuts)]
        else:
            newer = extract_labelled(self.network_, given)
            bank = self.bank_.with_labels(self.bank_.labelled.updated(newer))
            bank.check_deciding()
            self.bank_ = bank
        self._train_scorer()
        return self

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
        """
        check_is_fitted(self, "network_")
        source = open_images(X)
        digest = measured_digests(source, self.framing_, progress=stage(progress, "reading"))
        unknown = torch.nonzero(~torch.isin(digest, self.bank_.held_out_digest)).flatten()
        if len(unknown):
            raise ValueError(
                f"{source.names[int(unknown[0])]} is none of the held-out normals, on which "
                "decisions rest; give one of those."
            )
        aside = self.bank_.held_out_aside | torch.isin(self.bank_.held_out_digest, digest)
        bank = replace(self.bank_, held_out_aside=aside)
        bank.check_deciding()
        self.bank_ = bank
        self.summary_ |= fitting.standing(bank)
        return self

    def forget(self, X: object, *, progress: StageProgress | None = None) -> Self:
        """Take back the labels of images, or that they are set aside; others are passed by.

        Args:
            X: Images, known by their pixels, however they are given.
            progress: Called as ``progress(stage, done, total)``.

        Raises:
            ValueError: Unreadable images.
        """
        check_is_fitted(self, "network_")
        source = open_images(X)
        digest = measured_digests(source, self.framing_, progress=stage(progress, "reading"))
        pixels = full_digests(source, self.framing_)
        bank = self.bank_
        self.bank_ = replace(
            bank,
            labelled=bank.labelled.without(digest if pixels is None else pixels),
            held_out_aside=bank.held_out_aside & ~torch.isin(bank.held_out_digest, digest),
        )
        self._train_scorer()
        return self

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
        """
        check_is_fitted(self, "network_")
        source = open_images(X)
        label = check_labels(None, len(source))
        fitting.check_normals(label, groups)
        prepared = prepare_frames(source, self.framing_, progress=stage(progress, "reading"))
        known = identities(source.names, prepared, groups)
        label = leave_out_known(known, self.bank_)
        split = fitting.split_normals(label, known, self.config_.calibration.share, self.seed)
        images = TrainingImages.of(prepared.frames, prepared.image, label, split, known)
        newer = fill_bank(self.network_, images)
        self.bank_ = self.bank_.extended(newer)
        self.summary_["normals"] += len(images.trained_on)
        self.heat_.append(fit_heat(self.network_, images, anywhere=self.framing_.cuts))
        self._train_scorer()
        return self

    def save(self, path: str | Path) -> None:
        """Write the model folder, atomically; an older model there is replaced.

        Of the processes that share a fit (``devices``, ``nodes``) the first alone writes it.

        Raises:
            WriteError: It cannot be written; the older model is as it was.
        """
        check_is_fitted(self, "network_")
        if self.devices * self.nodes == 1 or leads():
            saved.save(self, Path(path))

    def _begin(self, progress: StageProgress | None) -> tuple[Config, Fabric, StageProgress | None]:
        """The choices of a fit, its processes, and whom to tell: of several, the first tells."""
        config = resolve(self.config)
        if config.encoder.weights is not None:
            weights_file(config.encoder.weights)  # or their lack is told when all images are read
        fabric = join_processes(
            self.device, config.compute.precision, devices=self.devices, nodes=self.nodes
        )
        return config, fabric, progress if fabric.is_global_zero else None

    @threads_given_back()
    def _learn(
        self,
        images: TrainingImages,
        framing: Framing,
        config: Config,
        fabric: Fabric,
        checkpoint: str | Path | None,
        progress: StageProgress | None,
    ) -> None:
        """Stage 1, what is kept of the images, and stage 2."""
        network = fitting.new_network(config, framing.shape, images.normals, fabric, self.seed)
        config = fitting.by_architecture(config, network)
        with together(fabric):
            state = fitting.run_stage1(
                network,
                images,
                config,
                fabric=fabric,
                seed=self.seed,
                checkpoint=None if checkpoint is None else Path(checkpoint),
                progress=stage(progress, "stage 1"),
            )
        self.config_, self.framing_, self.network_ = config, framing, network
        self.bank_ = fill_bank(network, images)
        self.heat_ = [fit_heat(network, images, anywhere=framing.cuts)]
        self.summary_ = {**fitting.summary(state, images), "versions": library_versions()}
        self._train_scorer()

    def _train_scorer(self) -> None:
        widths = self.network_.pooled_widths
        self.scorer_ = fitting.train_scorer(self.bank_, widths, self.config_, self.seed)
        self.summary_ |= fitting.standing(self.bank_)
        give_back_freed_memory()
