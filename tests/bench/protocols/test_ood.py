from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from anomem.images.arrays import ArraySource
from anomem.images.local import FileSource
from anomem_bench.datasets import Part, Parts, load_named
from anomem_bench.methods import methods_named
from anomem_bench.protocols.ood import Ood, half_as_outliers
from anomem_bench.protocols.reencoded import jpeg_of
from anomem_bench.runner import Entry, run_protocol
from anomem_bench.split import Caps

CAT = data.chelsea()[:256, :256]


def crops(count: int, seed: int) -> np.ndarray:
    corners = np.random.default_rng(seed).integers(0, 256 - 32, (count, 2))
    return np.stack([CAT[y : y + 32, x : x + 32] for y, x in corners])


@pytest.fixture
def protocol(digits_as_cifar10: Path) -> Ood:
    parts = load_named("cifar10", digits_as_cifar10)
    return Ood("digits", parts, others={"cat": ArraySource(crops(30, 0))}, caps=Caps(60, 40))


def test_all_classes_are_normal_and_each_other_set_is_a_test(protocol: Ood) -> None:
    (cell,) = protocol.cells()
    split = protocol.split(cell)
    assert (cell.normal, protocol.tests_of(cell)) == ("all", ["cat"])
    assert len(split.normals) == 60 and split.anomalies is None
    assert len(split.test_normals) == 40 and len(split.test_anomalies["cat"]) == 30
    assert replace(protocol, caps=Caps(tested=9)).title == "digits, at most 9 tested of each kind"


def test_no_test_image_is_trained_on(protocol: Ood) -> None:
    split = replace(protocol, caps=Caps()).split(protocol.cells()[0])
    trained = {split.normals[row].tobytes() for row in range(len(split.normals))}
    tests = (split.test_normals, *split.test_anomalies.values())
    assert not any(test[row].tobytes() in trained for test in tests for row in range(len(test)))


def test_where_normals_are_jpeg_others_are_tested_again_with_their_encoding(
    protocol: Ood, tmp_path: Path
) -> None:
    files = []
    for row in range(8):
        files.append(tmp_path / f"{row}.jpg")
        Image.fromarray(CAT[: 200 + row, :200]).save(files[-1], quality=40)
    part = Part(FileSource(files), np.zeros(8, np.int64), ("cat",))
    jpeg = replace(protocol, parts=Parts(part, part))
    assert jpeg.tests_of(jpeg.cells()[0]) == ["cat", "cat, re-encoded"]
    tests = jpeg.split(jpeg.cells()[0]).test_anomalies
    assert tests["cat"][0].shape == (32, 32, 3)
    again = tests["cat, re-encoded"]
    assert again[0].shape == (200, 200, 3)  # of the size of the normals, however large
    assert jpeg_of(again) == jpeg_of(part.images)


def test_classes_of_the_normals_are_given(protocol: Ood) -> None:
    split = protocol.split(protocol.cells()[0])
    part = protocol.trained_on(protocol.cells()[0])
    assert split.outliers is None and split.classes is not None
    assert split.classes.tolist() == part.label.tolist() and set(split.classes) == set(range(10))


def test_every_second_class_of_a_set_is_for_outliers_and_the_others_are_tested(
    digits_as_cifar10: Path,
) -> None:
    parts = load_named("cifar10", digits_as_cifar10)
    outliers, tested = half_as_outliers("digits", parts)
    assert outliers.classes == ("airplane", "bird", "deer", "frog", "ship")
    assert set(tested.label) == {1, 3, 5, 7, 9} and len(tested) < len(parts.test)
    assert parts.train is not None
    assert len(outliers.images) == len(parts.train.of(outliers.classes))


def test_where_there_is_no_part_to_train_on_outliers_are_of_the_test_part(
    digits_as_cifar10: Path,
) -> None:
    parts = replace(load_named("cifar10", digits_as_cifar10), train=None)
    outliers, tested = half_as_outliers("digits", parts)
    assert len(outliers.images) + len(tested) == len(parts.test)
    one = parts.test.choose(parts.test.of(["cat"]))
    with pytest.raises(ValueError, match="half of the classes of cats, and it has 1 with images"):
        half_as_outliers("cats", Parts(None, one))


def test_outliers_are_named_and_encoded_as_the_normals_are(
    protocol: Ood, digits_as_cifar10: Path, tmp_path: Path
) -> None:
    outliers, _ = half_as_outliers("other digits", load_named("cifar10", digits_as_cifar10))
    given = replace(protocol, outliers=outliers)
    split = given.split(given.cells()[0])
    assert given.title == f"{protocol.title}, outliers of other digits"
    assert given.details["outliers"]["classes"] == list(outliers.classes)
    assert split.outliers is outliers.images
    Image.fromarray(CAT).save(tmp_path / "cat.jpg", quality=40)
    cats = Part(FileSource([tmp_path / "cat.jpg"]), np.zeros(1, np.int64), ("cat",))
    jpeg = replace(given, parts=Parts(cats, cats)).split(given.cells()[0])
    assert jpeg.outliers is not None
    assert jpeg_of(jpeg.outliers) == jpeg_of(cats.images)


@pytest.mark.usefixtures("three_steps")
def test_methods_that_ask_for_classes_and_outliers_are_given_them(
    protocol: Ood, digits_as_cifar10: Path, tmp_path: Path
) -> None:
    outliers, _ = half_as_outliers("other digits", load_named("cifar10", digits_as_cifar10))
    names = ["msp", "fs", "energy-oe", "balanced-energy"]
    entry = Entry(methods_named(names), 60.0, "cpu")
    given = replace(protocol, outliers=outliers)
    runs = list(run_protocol(given, entry, tmp_path / "runs.jsonl"))
    assert {run.method for run in runs} == {*names, "energy"}


@pytest.mark.usefixtures("three_steps")
def test_every_test_has_a_line_with_four_measures(protocol: Ood, tmp_path: Path) -> None:
    entry = Entry(methods_named(["deepsad"]), 60.0, "cpu")
    (run,) = run_protocol(protocol, entry, tmp_path / "runs.jsonl")
    assert (run.protocol, run.normal, run.against, run.column) == ("ood", "all", "cat", "cat")
    early = {"auroc_quarter", "auroc_half"}
    assert set(run.measures) == {"auroc", "aupr_in", "aupr_out", "fpr95"} | early
    assert run.test_images == 70
