"""Linear evaluation: a linear classifier on the frozen features of what was trained unlabelled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from anomem.data.named import Parts
from anomem.evaluation.one_vs_all import trained
from anomem.evaluation.race import Contender, Judgement, Measured
from anomem.evaluation.split import Caps, Cell, Exam, Split, everything

_MOST_FITTED = 10_000
"""Training images that the classifier is fitted to."""


@dataclass(frozen=True)
class Linear:
    """All classes of a data set are trained on as normals; then a classifier tells them apart.

    The features are the last map of the encoder, averaged over its places, whatever the scales
    that were trained, so that the training alone differs (Table 4 of the paper). The classifier is
    a multinomial logistic regression on standardised features.

    Attributes:
        data: Name of the data set.
        parts: Its images.
        draws: Seeds of the training.
        caps: Most images; of all classes together to test on.
        name: Of the protocol.
    """

    data: str
    parts: Parts
    draws: int = 1
    caps: Caps = Caps()
    name: str = "linear"

    @property
    def title(self) -> str:
        """The data set, and what was done to it."""
        return self.caps.title(self.data)

    def cells(self) -> list[Cell]:
        """One training set a draw."""
        return [Cell("all", 0.0, "all", draw) for draw in range(self.draws)]

    def tests_of(self, cell: Cell) -> list[str]:
        """One test."""
        return [""]

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell; all draws have the same test images."""
        train, test = trained(self.data, self.parts), self.parts.test
        order = np.random.default_rng(cell.draw).permutation(len(train))[: self.caps.normals]
        fitted, tested = train.choose(order), test.choose(self.caps.some(np.arange(len(test))))
        return Split(fitted.images, None, tested.images, labels=(fitted.label, tested.label))

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """Share of the test images whose class is told."""
        assert exam.labels is not None
        label, truth = exam.labels
        fitted = everything(exam.course.normals).spread(_MOST_FITTED)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(contender.features(fitted).numpy(), label[fitted.indices])
        told = classifier.predict(contender.features(exam.test_normals).numpy())
        accuracy = Measured({"accuracy": float((told == truth).mean())}, len(truth))
        return {score: {"": accuracy} for score in contender.score_names}
