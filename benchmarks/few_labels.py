"""What a few labelled anomalies are worth: of any kind, and of one kind against all others."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from anomem import AnoMem
from anomem.detector.score import extract_source, score_part
from anomem.evaluation.metrics import auroc
from anomem.images.open import open_images
from frozen import Neighbours, Values
from part_sets import PartSet


@dataclass(frozen=True)
class LabelsResult:
    """AUROC on the images that are neither labelled nor copies.

    Attributes:
        labels: Number of labelled anomalies.
        kind: Of which they are all, and no tested anomaly is; "" where they are of any.
        draw: Number of the random draw of them.
        tested: How many images are.
        one_class: Of the scores without labels.
        adapted: Of the scores after ``adapt``.
        masked: Of those after ``adapt`` with masks; NaN where there are none.
        logistic: Of a logistic regression on pooled features, with the same labels.
    """

    labels: int
    kind: str
    draw: int
    tested: int
    one_class: float
    adapted: float
    masked: float
    logistic: float


@dataclass(frozen=True)
class Draw:
    """Labelled anomalies, and what is tested with them.

    Attributes:
        labelled: Indices of the tested images that are labelled, all anomalous.
        rest: Of those that are measured.
        kind: As of :class:`LabelsResult`.
        number: Of the draw.
    """

    labelled: npt.NDArray[np.int64]
    rest: npt.NDArray[np.int64]
    kind: str
    number: int


def draws_of(parts: PartSet, labels: Sequence[int], draws: int) -> Iterator[Draw]:
    """All draws: of any kind, then, where there are several, of each kind.

    More labels of a draw are those of fewer and others. Where no anomaly would be left to test, or
    a kind has not as many, there is no draw.
    """
    kinds = range(1, len(parts.kinds)) if len(parts.kinds) > 2 else ()
    for kind in (0, *kinds):
        among = np.flatnonzero(parts.kind == kind if kind else parts.anomalous)
        for number in range(draws):
            order = np.random.default_rng(number).permutation(among)
            for count in labels:
                chosen = order[:count]
                known = np.isin(parts.digest, parts.digest[chosen])
                same_kind = (parts.kind == kind) & (kind > 0)
                rest = np.flatnonzero(~parts.copy & ~known & ~same_kind)
                if len(chosen) == count and parts.anomalous[rest].any():
                    yield Draw(chosen, rest, parts.kinds[kind] if kind else "", number)


def with_labels(
    parts: PartSet, model: AnoMem, neighbours: Neighbours, labels: Sequence[int], draws: int
) -> Iterator[LabelsResult]:
    """What each draw of labels is worth to a detector that was fitted without any."""
    normal, tested = (neighbours.features(some).numpy() for some in (parts.normals, parts.tested))
    # ``adapt`` leaves what is measured of an image as it is, so that it is measured once.
    source = open_images(parts.tested)
    measured = list(extract_source(model.detector(), source))

    def scores(adapted: AnoMem) -> Values:
        found = [score_part(adapted.scorer_, part, source.names).score for part in measured]
        return np.concatenate(found).astype(np.float64)

    one_class = scores(model)
    for draw in draws_of(parts, labels, draws):
        chosen, anomalous = draw.labelled, parts.anomalous[draw.rest]
        label, images = np.ones(len(chosen), int), parts.tested[chosen]
        adapted = scores(copy.deepcopy(model).adapt(images, label))
        masked = np.full(len(adapted), np.nan)
        if parts.masks is not None:
            masks = [parts.masks[index] for index in chosen]
            masked = scores(copy.deepcopy(model).adapt(images, label, masks=masks))
        regression = make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
        )
        regression.fit(
            np.concatenate([normal, tested[chosen]]), np.repeat([0, 1], [len(normal), len(chosen)])
        )
        of = {
            name: np.nan
            if np.isnan(found).any()
            else auroc(found[draw.rest][~anomalous], found[draw.rest][anomalous])
            for name, found in (
                ("one_class", one_class),
                ("adapted", adapted),
                ("masked", masked),
                ("logistic", regression.decision_function(tested)),
            )
        }
        yield LabelsResult(len(chosen), draw.kind, draw.number, len(draw.rest), **of)
