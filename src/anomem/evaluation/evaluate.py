"""Labelled images that a detector has scored: which went wrong, which it knew before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.decision.scores import Scores
from anomem.detector.estimator import AnoMem
from anomem.detector.feature_bank import FeatureBank
from anomem.detector.identity import Identities, refuse_two_labels
from anomem.detector.score import extract_source, score_part
from anomem.evaluation.intervals import Interval, rate_interval
from anomem.evaluation.metrics import Values
from anomem.images.combined import JoinedSource
from anomem.images.listing import names_in_common
from anomem.images.masks import read_mask
from anomem.images.source import ImageSource
from anomem.runtime.progress import StageProgress, stage

MOST_SHOWN = 40
"""Images of a group that are shown."""


@dataclass(frozen=True)
class Known:
    """Counts the images of an evaluation that are not new, told by their pixels.

    Attributes:
        images: How many there are.
        labelled: Of them, how many have been labelled.
        trained: How many others were trained on.
        held_out: How many others were held out of the training to set the threshold.
        copies: How many have the pixels of an earlier one among them.
        whole: Whether the model remembers every image that it was trained on.
    """

    images: int
    labelled: int
    trained: int
    held_out: int
    copies: int
    whole: bool

    def __str__(self) -> str:
        """What is known and what is there twice, in words; empty where there is nothing."""
        lines = []
        if seen := self.labelled + self.trained + self.held_out:
            lines.append(
                f"{seen} of {self.images} images are known to the model by their pixels "
                f"({self.labelled} labelled, {self.trained}{'' if self.whole else ' or more'} "
                f"trained on, {self.held_out} held out for the threshold), so that figures may be "
                "better than on new ones"
            )
        if self.copies:
            lines.append(
                f"{self.copies} of {self.images} images are copies of others, pixel by pixel, and "
                "count again"
            )
        return "; ".join(lines)

    def as_json(self) -> dict[str, int]:
        """Give the counts by name."""
        return {name: getattr(self, name) for name in ("labelled", "trained", "held_out", "copies")}


def known_among(digest: Tensor, bank: FeatureBank, trained: int) -> Known:
    """Count the images that a model knows.

    Args:
        digest: (N,) int64, of the pixels of the images as the model measures them.
        bank: Of the model.
        trained: How many normals it was trained on; of these it remembers 1,000.
    """
    labelled = torch.isin(digest, torch.cat([bank.labelled.digest, bank.labelled.pixels]))
    unseen = bank.held_out_digest[~bank.held_out_in_turn]
    held_out = torch.isin(digest, unseen) & ~labelled
    learnt = torch.isin(digest, torch.cat([bank.trained_digest, bank.learnt_pixels]))
    return Known(
        images=len(digest),
        labelled=int(labelled.sum()),
        trained=int((learnt & ~labelled & ~held_out).sum()),
        held_out=int(held_out.sum()),
        copies=len(digest) - len(digest.unique()),
        whole=trained <= len(bank.trained_digest),
    )


@dataclass(frozen=True)
class Evaluation:
    """Holds N labelled images and their scores.

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
        """Tell which are called anomalous, (N,)."""
        return self.score > self.threshold

    @property
    def normal(self) -> Values:
        """Give the scores of the normal images."""
        return self.score[self.label == 0].astype(np.float64)

    @property
    def anomalous(self) -> Values:
        """Give the scores of the anomalous images."""
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
        rule: By which the threshold is set, see ``AnoMem.threshold``.
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

    return Evaluation(
        images=JoinedSource([normal, anomalous]),
        names=[*names_in_common(normal.names), *names_in_common(anomalous.names)],
        label=np.repeat([0, 1], [len(normal), len(anomalous)]),
        score=np.concatenate([good[0], odd[0]]),
        threshold=threshold,
        mask_of=mask_of,
        known=known_among(torch.cat([good[1], odd[1]]), model.bank_, model.summary_["normals"]),
    )


def _scored(
    model: AnoMem, source: ImageSource, progress: StageProgress | None
) -> tuple[npt.NDArray[np.float32], Tensor]:
    """Scores and digests of images."""
    scores, digests = list[Scores](), list[Tensor]()
    told = stage(progress, "scoring")
    for part in extract_source(model.detector(), source, told, digested=True):
        scores.append(score_part(model.scorer_, part, source.names))
        if scores[-1].errors:
            raise ValueError(next(iter(scores[-1].errors.values())))
        assert part.digest is not None
        digests.append(part.digest)
    return np.concatenate([each.score for each in scores]), torch.cat(digests)


@dataclass(frozen=True)
class Group:
    """Holds images that belong together.

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


def groups(evaluation: Evaluation) -> list[Group]:
    """Find misses, false alarms, the most doubtful and the most anomalous; each image once."""
    score, anomalous, called = evaluation.score, evaluation.label == 1, evaluation.called
    right = anomalous == called
    wanted = (
        ("Missed anomalies", "Anomalous, but called normal; the most normal looking first.",
         anomalous & ~called, score),
        ("False alarms", "Normal, but called anomalous; the most anomalous looking first.",
         ~anomalous & called, -score),
        ("Most doubtful", "Rightly called, but nearest to the threshold.",
         right, np.abs(score - evaluation.threshold)),
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


@dataclass(frozen=True)
class FolderRow:
    """Tells how the images of one folder and one label came out."""

    folder: str
    label: str
    images: int
    called: int
    mean_score: float

    @property
    def interval(self) -> Interval:
        """Bound the share that is called anomalous, 95%."""
        return rate_interval(self.called, self.images)


def by_folder(evaluation: Evaluation) -> list[FolderRow]:
    """Make a row for each folder and label, normal images first."""
    folder = np.array([str(PurePath(name).parent) for name in evaluation.names])
    rows = []
    for value, label in enumerate(("normal", "anomalous")):
        for name in np.unique(folder[evaluation.label == value]).tolist():
            chosen = (folder == name) & (evaluation.label == value)
            called = int(evaluation.called[chosen].sum())
            mean = float(evaluation.score[chosen].mean())
            rows.append(FolderRow(name, label, int(chosen.sum()), called, mean))
    return rows
