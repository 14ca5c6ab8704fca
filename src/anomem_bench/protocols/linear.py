"""Linear evaluation: a linear classifier on the frozen features of what was trained unlabelled."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from anomem.images.image_set import Chosen
from anomem_bench.contender import Contender
from anomem_bench.exam import Exam, Judgement, Measures
from anomem_bench.protocols.protocol import AllNormal
from anomem_bench.split import Cell, Split

_MOST_FITTED = 10_000
"""Training images that the classifier is fitted to."""


@dataclass(frozen=True)
class Linear(AllNormal):
    """Trains on all classes of a data set as normals; then a classifier tells them apart.

    The features are the last map of the encoder, averaged over its places, whatever the scales
    that were trained, so that the training alone differs (Table 4 of the paper). The classifier is
    a multinomial logistic regression on standardised features.
    """

    name: str = "linear"

    def split(self, cell: Cell) -> Split:
        """Choose the images of a cell; all draws have the same test images."""
        fitted, tested = self.trained_on(cell), self.tested_on()
        return Split(fitted.images, None, tested.images, labels=(fitted.label, tested.label))

    def judge(self, contender: Contender, exam: Exam) -> Judgement:
        """Measure the share of the test images whose class is told."""
        assert exam.labels is not None
        label, truth = exam.labels
        fitted = Chosen.of(exam.trained.normals).spread(_MOST_FITTED)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(contender.features(fitted).numpy(), label[fitted.indices])
        told = classifier.predict(contender.features(exam.test_normals).numpy())
        accuracy = Measures({"accuracy": float((told == truth).mean())}, len(truth))
        return {score: {"": accuracy} for score in contender.score_names}
