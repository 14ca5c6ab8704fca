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
from anomem_bench.protocols.ood import Ood
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


@pytest.mark.usefixtures("three_steps")
def test_every_test_has_a_line_with_four_measures(protocol: Ood, tmp_path: Path) -> None:
    entry = Entry(methods_named(["deepsad"]), 60.0, "cpu")
    (run,) = run_protocol(protocol, entry, tmp_path / "runs.jsonl")
    assert (run.protocol, run.normal, run.against, run.column) == ("ood", "all", "cat", "cat")
    early = {"auroc_quarter", "auroc_half"}
    assert set(run.measures) == {"auroc", "aupr_in", "aupr_out", "fpr95"} | early
    assert run.test_images == 70
