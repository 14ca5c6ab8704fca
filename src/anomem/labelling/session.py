"""One folder, one model, and the answers given so far."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from anomem.decision.calibrate import p_values
from anomem.decision.scores import Heat, highest_frames
from anomem.detector.estimator import AnoMem
from anomem.detector.score import extract_source, score_features
from anomem.images.local import FileSource
from anomem.labelling.answers import AnswerFile
from anomem.labelling.learning import learn_from
from anomem.labelling.order import anomalies_among, most_telling_first
from anomem.labelling.rows import Answer
from anomem.model.features import Features
from anomem.runtime.progress import StageProgress, stage


@dataclass(frozen=True)
class Standing:
    """Tells where the work stands.

    Attributes:
        next: Index of the image to look at, None when there is none left.
        normal: Images answered normal.
        anomalous: Images answered anomalous.
        left: Images not answered.
        anomalies_left: Between which numbers of these are anomalous.
        last: Index of the image answered last, None before the first.
    """

    next: int | None
    normal: int
    anomalous: int
    left: int
    anomalies_left: tuple[int, int]
    last: int | None


class Session:
    """Ranks the images of a folder, and learns from the answers.

    The answers are read from their file each time, so that they are the same for every page and
    every process.

    Args:
        model: The detector; encoder and memories stay as they are, but that memories of places
            recall those of images answered normal, for which all images are measured again.
        files: Of the images.
        answers: Where answers are kept.
        out: Folder for the adapted model.
        rule: Of the decision, see ``AnoMem.threshold``.
        progress: Called as ``progress(stage, done, total)``.

    Attributes:
        files: Of the images that can be read.
        images: The same, to read.
        errors: Of the other images, a sentence each.
        score: (N,) of the images, as the detector is now.
        threshold: Above it an image is called anomalous.
    """

    def __init__(
        self,
        model: AnoMem,
        files: Sequence[Path],
        answers: AnswerFile,
        *,
        out: Path,
        rule: str,
        progress: StageProgress | None = None,
    ) -> None:
        self.model, self.answers, self.out, self.rule = model, answers, out, rule
        parts = list(
            extract_source(model.detector(), FileSource(files), stage(progress, "measuring"))
        )
        self.errors = [error for part in parts for error in part.errors.values()]
        features = [part.features for part in parts if part.features is not None]
        if not features:
            raise ValueError(self.errors[0])
        self._features = Features.joined(features)
        kept, image = np.unique(torch.cat([part.image for part in parts]), return_inverse=True)
        self._image = torch.from_numpy(image)
        self.files = [Path(os.path.abspath(files[index])) for index in kept]
        self.images = FileSource(self.files)
        self._number = {str(file): index for index, file in enumerate(self.files)}
        self._busy = Lock()
        self._rank()

    def standing(self) -> Standing:
        """Say what is to be looked at next, and what is left."""
        answers = self.answers.read()
        given = [answers.get(file, "undone") for file in self._number]
        answered = np.array([answer != "undone" for answer in given])
        order = self._order[~answered[self._order]]
        latest = (file for file in reversed(answers) if answers[file] != "undone")
        return Standing(
            next=int(order[0]) if len(order) else None,
            normal=given.count("normal"),
            anomalous=given.count("anomalous"),
            left=len(order),
            anomalies_left=anomalies_among(self._p_values[~answered], self._held_out),
            last=next((self._number[file] for file in latest if file in self._number), None),
        )

    def answer(self, index: int, answer: Answer) -> None:
        """Keep what is said of an image."""
        with self._busy:
            self.answers.append(self.files[index], answer)

    def adapt(self) -> list[str]:
        """Learn from all labels, save the model, and rank the images again.

        Returns:
            Of the labelled images that can no longer be read, a sentence each; they are left out.

        Raises:
            ValueError: There is no label yet, or none of them can be read.
        """
        with self._busy:
            answered = self.answers.labels()
            label = {file: answered[file] for file in self._number if file in answered}
            if not set(label.values()) & {0, 1}:
                raise ValueError("There is no label to learn from yet; label an image first.")
            network = self.model.network_
            errors = learn_from(self.model, label)
            self.model.save(self.out)
            if self.model.network_ is not network:
                self._measure_again()
            self._rank()
            return list(errors.values())

    def heat_of(self, index: int) -> Heat:
        """Draw the heat map of an image, H x W."""
        with self._busy:
            (heat,) = self.model.heat_maps([self.images[index]])
        return heat

    def _measure_again(self) -> None:
        """Measure as memories that recall places of labelled normals do; what is gone stays."""
        parts = list(extract_source(self.model.detector(), self.images))
        image = torch.cat([part.image for part in parts])
        gone = ~torch.isin(self._image, image)
        fresh = [part.features for part in parts if part.features is not None]
        self._features = Features.joined([self._features.at(gone), *fresh])
        self._image = torch.cat([self._image[gone], image])

    def _rank(self) -> None:
        scores = score_features(self.model.scorer_, self._features)
        self.score = scores[highest_frames(scores, self._image)].numpy()
        self.threshold = self.model.threshold(self.rule)
        calibration = self.model.calibration()
        self._p_values, self._held_out = p_values(self.score, calibration), calibration.groups
        self._order = most_telling_first(self.score, self.threshold)
