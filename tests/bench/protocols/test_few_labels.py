from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness
from PIL import Image
from sklearn.datasets import load_digits

from anomem.evaluation.metrics import auroc
from anomem.images.source import ImageSource
from anomem_bench.datasets import load_named
from anomem_bench.exam import Exam
from anomem_bench.figures.curves import auroc_against_gamma, auroc_against_seconds
from anomem_bench.methods import METHODS, methods_named
from anomem_bench.protocols.few_labels import FewLabels
from anomem_bench.results import read
from anomem_bench.runner import Entry, run_protocol
from anomem_bench.split import Cell
from anomem_bench.tables import markdown_table

KINDS = {"one": 1, "seven": 7, "six": 6}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Zeros are good, as MVTec AD is laid out; of ones 12 images, of sixes 9, of sevens 3."""
    images, label = load_digits(return_X_y=True)
    counts = {
        ("train/good", 0): (0, 40), ("test/good", 0): (40, 60),
        ("test/one", 1): (0, 12), ("test/six", 6): (0, 9), ("test/seven", 7): (0, 3),
    }  # fmt: skip
    root = tmp_path_factory.mktemp("digits")
    for (folder, digit), (start, stop) in counts.items():
        (root / folder).mkdir(parents=True)
        for row, pixels in enumerate(images[label == digit][start:stop]):
            image = Image.fromarray((15 * pixels).astype(np.uint8).reshape(8, 8))
            image.resize((32, 32)).save(root / folder / f"{row}.png")
    return root


@pytest.fixture
def protocol(digits: Path) -> FewLabels:
    return FewLabels("digits", load_named("mvtec_ad", digits), labels=(0, 1, 5))


def images_of(source: ImageSource | None) -> set[bytes]:
    return set() if source is None else {source[row].tobytes() for row in range(len(source))}


def test_both_settings_have_a_cell_for_each_number_of_labels(protocol: FewLabels) -> None:
    cells = protocol.cells()
    assert [(cell.anomaly_classes, cell.labels, cell.labelled) for cell in cells] == [
        ("general", 0, ""), ("general", 1, ""), ("general", 5, ""),
        ("hard", 0, ""), ("hard", 1, "one"), ("hard", 1, "six"), ("hard", 5, "one"),
        ("hard", 5, "six"),  # sevens are too few
    ]  # fmt: skip
    assert cells[2].gamma == 5 / 45
    assert protocol.tests_of(cells[1]) == ["one", "seven", "six", "all kinds"]
    assert protocol.tests_of(cells[3]) == ["all but one", "all but six"]
    assert protocol.tests_of(cells[4]) == ["all but one"]


def test_kinds_that_cannot_be_labelled_are_told(protocol: FewLabels) -> None:
    hard = replace(protocol, settings=("hard",))
    with pytest.raises(ValueError, match="labels 13 anomalies of one kind and tests against"):
        replace(hard, labels=(13,)).cells()
    with pytest.raises(ValueError, match="there is no kind 'two'; choose from one, seven, six"):
        replace(hard, kinds=("two",)).cells()
    cell = replace(hard, kinds=("seven",)).cells()[-1]
    with pytest.raises(ValueError, match="5 are to be labelled of 3 images of 'seven'; lower lab"):
        hard.split(cell)
    with pytest.raises(
        ValueError, match="22 are to be labelled of 21 anomalies beside one of each"
    ):
        replace(protocol, labels=(22,), settings=("general",)).split(
            Cell("good", 0.1, "general", 0)
        )


def test_what_is_labelled_is_not_tested_and_every_row_has_one_test(protocol: FewLabels) -> None:
    tests, labelled = defaultdict(list), defaultdict(list)
    for cell in replace(protocol, draws=3).cells():
        split = protocol.split(cell)
        tested = {kind: images_of(images) for kind, images in split.test_anomalies.items()}
        known = images_of(split.anomalies)
        assert len(known) == cell.labels
        assert not known & images_of(split.test_normals).union(*tested.values())
        assert cell.labelled not in tested and all(tested.values())
        if cell.anomaly_classes == "general":
            assert sum(map(len, tested.values())) == 24 - 5
        row = (cell.draw, cell.anomaly_classes, cell.labelled)
        tests[row].append(tested)
        labelled[row].append(known)
    for row, own in tests.items():
        assert all(tested == own[0] for tested in own)
        few, *more = sorted(labelled[row], key=len)
        assert all(few <= known for known in more)


def test_tests_are_against_each_kind_all_and_all_but_one(protocol: FewLabels) -> None:
    general, hard = protocol.cells()[0], protocol.cells()[4]
    for cell in (general, hard):
        exam = Exam.of(protocol.split(cell), METHODS["deepsad"].config)
        contender = Brightness()
        judged = protocol.judge(contender, exam)["brightness"]  # type: ignore[arg-type]
        normal = contender.scores(exam.test_normals)["brightness"]
        odd = {k: contender.scores(v)["brightness"] for k, v in exam.test_anomalies.items()}
        joined = {**{kind: [kind] for kind in odd}, "all kinds": list(odd)}
        joined |= {f"all but {kind}": [k for k in odd if k != kind] for kind in KINDS}
        assert set(protocol.tests_of(cell)) <= set(joined) == set(judged)
        for test, kinds in joined.items():
            scores = np.concatenate([odd[kind] for kind in kinds])
            assert judged[test].measures == {"auroc": auroc(normal, scores)}
            assert judged[test].images == 20 + len(scores)


@pytest.mark.usefixtures("three_steps")
def test_one_class_methods_stand_in_the_same_table_with_0_labels(
    protocol: FewLabels, tmp_path: Path
) -> None:
    entry = Entry(methods_named(["deepsad", "supervised", "mhrot"]), 60.0, "cpu")
    results = tmp_path / "runs.jsonl"
    runs = list(run_protocol(replace(protocol, labels=(0, 5)), entry, results))
    assert runs == read(results)
    assert {(run.method, run.labels) for run in runs} == {
        ("deepsad", 0), ("mhrot", 0), ("deepsad", 5), ("supervised", 5)
    }  # fmt: skip
    text = markdown_table(runs)
    heads = [
        [word.strip() for word in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| method |")
    ]
    assert heads[0][:6] == ["method", "all kinds", "one", "seven", "six", "mean"]
    assert heads[1][:4] == ["method", "all but one", "all but six", "mean"]
    assert "**digits, few-labels, few labelled anomalies, of all kinds.** AUROC" in text
    for row in ("deepsad, 0 labels", "deepsad, 5 labels", "supervised, 5 labels", "mhrot, 0 la"):
        assert text.count(f"| {row}") == 2
    auroc_against_gamma(runs, tmp_path / "gamma.png")
    auroc_against_seconds(runs, tmp_path / "seconds.png")
    assert not (tmp_path / "gamma.png").exists() and (tmp_path / "seconds.png").exists()
