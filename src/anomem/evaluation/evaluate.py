"""Labelled images that a detector has scored: which went wrong, which nearly did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.detector.copies import refuse_two_labels
from anomem.detector.estimator import AnoMem
from anomem.detector.identity import Identities
from anomem.detector.score import Scores, extract_source, score_part
from anomem.evaluation.intervals import Interval, rate_interval
from anomem.evaluation.known import Known, known_among
from anomem.images.combined import JoinedSource
from anomem.images.listing import names_in_common
from anomem.images.masks import read_mask
from anomem.images.source import ImageSource
from anomem.runtime.progress import StageProgress, stage

MOST_SHOWN = 40
"""Images of a group that are shown."""


@dataclass(frozen=True)
class Evaluation:
    """N labelled images and their scores.

    Attributes:
        images: The N of them.
        names: As each is shown: its folder and its file.
        label: (N,) 0 normal, 1 anomalous; both are there.
        score: (N,) higher is more anomalous.
        threshold: An image that scores above it is called anomalous.
        mask_of: Where an image is anomalous, H x W bool, by its index; None where that is not
            known.
        known: How many of them the detector knew before.
    """

    images: ImageSource
    names: list[str]
    label: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    threshold: float
    mask_of: Callable[[int], npt.NDArray[np.bool_] | None]
    known: Known

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


def evaluate(
    model: AnoMem,
    normal: ImageSource,
    anomalous: ImageSource,
    *,
    rule: str,
    masks: Sequence[Path] = (),
    progress: StageProgress | None = None,
) -> Evaluation:
    """Score labelled images.

    Args:
        model: The detector.
        normal: Normal images.
        anomalous: Anomalous images.
        rule: By which the threshold is set, see :meth:`~anomem.detector.fitted.Fitted.threshold`.
        masks: Files, one of each anomalous image; or none.
        progress: Called as ``progress(stage, done, total)``.

    Raises:
        ValueError: An image cannot be read, two of different labels have the same pixels, or the
            rule is none.
    """
    threshold = model.threshold(rule)
    good, odd = (_scored(model, part, progress) for part in (normal, anomalous))
    refuse_two_labels(
        Identities.by_pixels(normal.names, good[1]), Identities.by_pixels(anomalous.names, odd[1])
    )

    def mask_of(index: int) -> npt.NDArray[np.bool_] | None:
        return read_mask(masks[index - len(normal)]) if masks and index >= len(normal) else None

    images = JoinedSource([normal, anomalous])
    label = np.repeat([0, 1], [len(normal), len(anomalous)])
    names = [*names_in_common(normal.names), *names_in_common(anomalous.names)]
    return Evaluation(
        images,
        names,
        label,
        np.concatenate([good[0], odd[0]]),
        threshold,
        mask_of,
        known_among(torch.cat([good[1], odd[1]]), model.bank_, model.summary_["normals"]),
    )


def _scored(
    model: AnoMem, source: ImageSource, progress: StageProgress | None
) -> tuple[npt.NDArray[np.float32], Tensor]:
    """Scores and digests of images."""
    network, scores, digests = model.network_, list[Scores](), list[Tensor]()
    told = stage(progress, "scoring")
    for part in extract_source(network, source, model.framing_, told, digested=True):
        scores.append(score_part(model.scorer_, part, source.names))
        if scores[-1].errors:
            raise ValueError(next(iter(scores[-1].errors.values())))
        assert part.digest is not None
        digests.append(part.digest)
    return np.concatenate([each.score for each in scores]), torch.cat(digests)


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

    @property
    def interval(self) -> Interval:
        """Of the share that is called anomalous, 95%."""
        return rate_interval(self.called, self.images)


def groups(examined: Evaluation) -> list[Group]:
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


def by_folder(examined: Evaluation) -> list[FolderRow]:
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
