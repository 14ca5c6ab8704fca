"""A model folder that is served: loaded, asked, and loaded anew when it is replaced."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomem.decision.calibrate import Calibration, p_values
from anomem.decision.ready import ReadyDetector
from anomem.evaluation.drift import Drift
from anomem.images.source import ImageSource
from anomem.runtime.printing import printable, tell
from anomem.runtime.untrusted import one_line

_LOOKS = 0.5
"""Seconds between two looks at a folder; what it holds must be the same at two of them."""

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Judged:
    """Holds what a model says of one image.

    Attributes:
        name: Of the image, as it was sent.
        score: Higher is more anomalous; NaN where the image could not be read.
        scale_scores: The part of each scale, the finest first.
        p_value: Share of normals that score as high, in (0, 1].
        anomalous: Whether the score is above the threshold.
        error: Why it could not be read, or None.
    """

    name: str
    score: float
    scale_scores: tuple[float, ...]
    p_value: float
    anomalous: bool
    error: str | None

    @property
    def verdict(self) -> str:
        """Say it in a word."""
        return "unreadable" if self.error else "anomalous" if self.anomalous else "normal"


@dataclass(frozen=True)
class Loaded:
    """Holds a model as it was read.

    Attributes:
        model: The detector.
        rule: By which it decides.
        threshold: Above it an image is called anomalous.
        calibration: Scores of held-out normals, for p-values.
        revision: 12 hexadecimal digits, others where the folder has been replaced.
        drift: Whether what it judges is still like the held-out normals.
        stamp: Of the files that it was read from.
    """

    model: ReadyDetector
    rule: str
    threshold: float
    calibration: Calibration
    revision: str
    drift: Drift
    stamp: Stamp

    @staticmethod
    def of(folder: Path, rule: str | None, device: str) -> Loaded:
        """Load a model folder.

        Raises:
            ValueError: It is none, or the rule does not suit it.
        """
        from anomem import load

        before = stamp_of(folder)
        model = load(folder, device=device)
        revision = hashlib.sha256(repr(before).encode()).hexdigest()[:12]
        rule = rule or model.rule
        threshold, calibration = model.threshold(rule), model.calibration()
        drift = Drift(calibration)
        return Loaded(model, rule, threshold, calibration, revision, drift, before)

    def judge(self, images: ImageSource) -> list[Judged]:
        """Score images and decide; those that cannot be read have their error."""
        scores = self.model.score_images(images)
        p = p_values(scores.score, self.calibration)
        return [
            Judged(
                images.names[index],
                float(scores.score[index]),
                tuple(scores.scale_scores[index].tolist()),
                float(p[index]),
                bool(scores.score[index] > self.threshold),
                scores.errors.get(index),
            )
            for index in range(len(images))
        ]


class Served:
    """Gives the model of a folder as it is now.

    Args:
        folder: A model folder.
        rule: Of the decision, see ``AnoMem.threshold``; None takes that of the model.
        device: As of ``load``.
        told: Called with whether the model could be read, when its folder has been replaced.

    Attributes:
        name: That of the folder.
        now: The model.
    """

    def __init__(
        self, folder: Path, rule: str | None, device: str, told: Callable[[str, bool], None]
    ) -> None:
        self.folder, self.name = folder, printable(folder.resolve().name)
        self._rule, self._device, self._told = rule, device, told
        self.now = Loaded.of(folder, rule, device)

    async def follow(self) -> None:
        """Load the folder anew whenever it has been replaced, for ever.

        What is asked meanwhile is answered by the model before. One that cannot be read, or is
        gone, is told, and the model before stays.
        """
        tried = seen = self.now.stamp
        while True:
            await asyncio.sleep(_LOOKS)
            found = await asyncio.to_thread(stamp_of, self.folder)
            settled, seen = found == seen, found
            if not settled or found == tried:
                continue
            tried = found
            if not found:
                gone = "its folder holds no model any more"
                tell(f"anomem: {self.name} stays as it was: {gone}", error=True)
                continue
            try:
                self.now = await asyncio.to_thread(Loaded.of, self.folder, self._rule, self._device)
            except Exception as error:  # of whatever lies in that folder now
                tell(f"anomem: {self.name} stays as it was: {one_line(error)}", error=True)
                self._told(self.name, False)
            else:
                tell(f"anomem: {self.name} is loaded anew ({self.now.revision})", error=True)
                self._told(self.name, True)


def stamp_of(folder: Path) -> Stamp:
    """Give name, size and time of each file of a folder; nothing where it is not there."""
    found = []
    try:
        for file in sorted(folder.iterdir()):
            status = file.stat()
            if file.suffix in (".json", ".onnx", ".safetensors"):
                found.append((file.name, status.st_size, status.st_mtime_ns))
    except OSError:
        return ()
    return tuple(found)


def nothing_read(judged: list[Judged]) -> str | None:
    """Say why no image of a request could be read, or None."""
    errors = [each.error for each in judged if each.error is not None]
    return errors[0] if len(errors) == len(judged) else None


def finite(value: float) -> float | None:
    """Give a number as JSON has it: None for one that is not finite."""
    return value if np.isfinite(value) else None
