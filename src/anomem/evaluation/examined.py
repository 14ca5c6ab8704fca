"""Labelled images that a detector has scored: which went wrong, which nearly did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from anomem.data.joined import JoinedSource
from anomem.data.listing import names_in_common
from anomem.data.masks import read_mask
from anomem.data.sources import ImageSource
from anomem.detector import AnoMem
from anomem.fitted import StageProgress

MOST_SHOWN = 40
"""Images of a group that are shown."""


@dataclass(frozen=True)
class Examined:
    """N labelled images and their scores.

    Attributes:
        images: The N of them.
        names: As each is shown: its folder and its file.
        label: (N,) 0 normal, 1 anomalous; both are there.
        score: (N,) higher is more anomalous.
        threshold: An image that scores above it is called anomalous.
        mask_of: Where an image is anomalous, H x W bool, by its index; None where that is not
            known.
    """

    images: ImageSource
    names: list[str]
    label: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    threshold: float
    mask_of: Callable[[int], npt.NDArray[np.bool_] | None]

    @property
    def called(self) -> npt.NDArray[np.bool_]:
        """Which are called anomalous, (N,)."""
        return self.score > self.threshold

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Scores of the normal images."""
        return self.score[self.label == 0].astype(np.float64)

    @property
    def anomalous(self) -> npt.NDArray[np.float64]:
        """Scores of the anomalous images."""
        return self.score[self.label == 1].astype(np.float64)


def examine(
    model: AnoMem,
    normal: ImageSource,
    anomalous: ImageSource,
    *,
    rule: str,
    masks: Sequence[Path] = (),
    progress: StageProgress | None = None,
) -> Examined:
    """Score labelled images.

    Args:
        model: The detector.
        normal: Normal images.
        anomalous: Anomalous images.
        rule: By which the threshold is set, see :meth:`~anomem.fitted.Fitted.threshold`.
        masks: Files, one of each anomalous image; or none.
        progress: Called as ``progress(stage, done, total)``.

    Raises:
        ValueError: An image cannot be read, or the rule is none.
    """
    threshold = model.threshold(rule)
    scores = [model.decision_function(part, progress=progress) for part in (normal, anomalous)]

    def mask_of(index: int) -> npt.NDArray[np.bool_] | None:
        return read_mask(masks[index - len(normal)]) if masks and index >= len(normal) else None

    images = JoinedSource([normal, anomalous])
    label = np.repeat([0, 1], [len(normal), len(anomalous)])
    names = [*names_in_common(normal.names), *names_in_common(anomalous.names)]
    return Examined(images, names, label, np.concatenate(scores), threshold, mask_of)


@dataclass(frozen=True)
class Group:
    """Images that belong together.

    Attributes:
        title: What they are.
        words: The same as a sentence.
        images: Indices of those shown, the most telling first.
        total: How many there are.
    """

    title: str
    words: str
    images: list[int]
    total: int


@dataclass(frozen=True)
class FolderRow:
    """How the images of one folder and one label came out."""

    folder: str
    label: str
    images: int
    called: int
    mean_score: float


def groups(examined: Examined) -> list[Group]:
    """Misses, false alarms, the most doubtful and the most anomalous; each image is shown once."""
    score, anomalous, called = examined.score, examined.label == 1, examined.called
    right = anomalous == called
    wanted = (
        ("Missed anomalies", "Anomalous, but called normal; the most normal looking first.",
         anomalous & ~called, score),
        ("False alarms", "Normal, but called anomalous; the most anomalous looking first.",
         ~anomalous & called, -score),
        ("Most doubtful", "Rightly called, but nearest to the threshold.",
         right, np.abs(score - examined.threshold)),
        ("Most anomalous", "Rightly called anomalous; the highest scores first.",
         right & anomalous, -score),
    )  # fmt: skip
    seen: set[int] = set()
    found = []
    for title, words, among, order in wanted:
        chosen = [i for i in np.argsort(order, kind="stable").tolist() if among[i]]
        shown = [i for i in chosen if i not in seen][:MOST_SHOWN]
        seen.update(shown)
        found.append(Group(title, words, shown, len(chosen)))
    return found


def by_folder(examined: Examined) -> list[FolderRow]:
    """A row for each folder and label, normal images first."""
    folder = np.array([str(PurePath(name).parent) for name in examined.names])
    rows = []
    for value, label in enumerate(("normal", "anomalous")):
        for name in np.unique(folder[examined.label == value]).tolist():
            chosen = (folder == name) & (examined.label == value)
            called = int(examined.called[chosen].sum())
            mean = float(examined.score[chosen].mean())
            rows.append(FolderRow(name, label, int(chosen.sum()), called, mean))
    return rows
