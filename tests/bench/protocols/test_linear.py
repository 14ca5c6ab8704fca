from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from anomem.images.image_set import ImageSet
from anomem_bench.datasets import load_named
from anomem_bench.exam import Exam
from anomem_bench.methods import METHODS, methods_named
from anomem_bench.protocols.linear import Linear
from anomem_bench.runner import Entry, run_protocol
from anomem_bench.split import Caps


@pytest.fixture
def protocol(digits_as_cifar10: Path) -> Linear:
    parts = load_named("cifar10", digits_as_cifar10)
    return Linear("digits", parts, caps=Caps(300, 200))


class Pixels:
    """Features that need no training."""

    score_names = ("pixels",)

    def features(self, images: ImageSet) -> torch.Tensor:
        return images.take(torch.arange(len(images))).float().flatten(1)[:, ::48]


@pytest.mark.parametrize("most", [None, 50])
def test_accuracy_is_that_of_a_logistic_regression(protocol: Linear, most: int | None) -> None:
    split = protocol.split(protocol.cells()[0])
    exam = Exam.of(split, METHODS["deepsad"].config)
    exam = exam if most is None else exam.thinned(most)
    judged = protocol.judge(Pixels(), exam)["pixels"][""]  # type: ignore[arg-type]
    assert split.labels is not None
    scaler = StandardScaler().fit(Pixels().features(exam.trained.normals))
    classifier = LogisticRegression(max_iter=1000)
    classifier.fit(scaler.transform(Pixels().features(exam.trained.normals)), split.labels[0])
    told = classifier.predict(scaler.transform(Pixels().features(exam.test_normals)))
    some = np.linspace(0, 199, most or 200).round().astype(int)
    assert judged.measures["accuracy"] == np.mean(told == split.labels[1][some])
    assert judged.images == len(some) and judged.measures["accuracy"] > 0.4


def test_no_test_image_is_trained_on(protocol: Linear) -> None:
    split = protocol.split(protocol.cells()[0])
    trained = {split.normals[row].tobytes() for row in range(len(split.normals))}
    tested = {split.test_normals[row].tobytes() for row in range(len(split.test_normals))}
    assert len(trained) > 200 and not trained & tested


@pytest.mark.usefixtures("three_steps")
def test_a_method_without_labels_has_an_accuracy(protocol: Linear, tmp_path: Path) -> None:
    entry = Entry(methods_named(["scratch"]), 60.0, "cpu")
    (run,) = run_protocol(protocol, entry, tmp_path / "runs.jsonl")
    assert set(run.measures) == {"accuracy", "accuracy_quarter", "accuracy_half"}
    assert run.measures["accuracy"] > 0.2  # of ten digits
