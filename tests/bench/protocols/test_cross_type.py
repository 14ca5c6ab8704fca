from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness

from anomem.evaluation.metrics import auroc
from anomem.images.arrays import ArraySource
from anomem.images.source import ImageSource
from anomem_bench.datasets import Part, Parts, load_named
from anomem_bench.exam import Exam
from anomem_bench.methods import METHODS, methods_named
from anomem_bench.metrics import attack_metrics
from anomem_bench.protocols.cross_type import CrossType
from anomem_bench.runner import Entry, run_protocol
from anomem_bench.split import Cell

TILES = Path(__file__).parents[4] / "shared" / "data" / "magnetic_tile"
KINDS = ("good", "bright", "dark", "noisy")


def part(counts: Sequence[int], seed: int) -> Part:
    """Images of 16 x 16 pixels whose mean tells the kind; each is unlike all others."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(counts)), counts)
    levels = np.array([100, 200, 20, 140])[label]
    images = rng.normal(levels[:, None, None], 8, (len(label), 16, 16)).clip(0, 255)
    return Part(ArraySource(images.astype(np.uint8)), label.astype(np.int64), KINDS)


@pytest.fixture
def protocol() -> CrossType:
    """As MVTec AD is laid out: no anomaly in the training part."""
    return CrossType("made", Parts(part([60], 0), part([20, 8, 9, 10], 1)), gammas=(0.0, 0.1))


def images_of(source: ImageSource | None) -> set[bytes]:
    return set() if source is None else {source[row].tobytes() for row in range(len(source))}


def test_each_kind_is_left_out_in_turn(protocol: CrossType) -> None:
    cells = protocol.cells()
    assert [(cell.gamma, cell.unseen) for cell in cells] == [
        (0.0, ""), (0.1, "bright"), (0.1, "dark"), (0.1, "noisy"),
    ]  # fmt: skip
    assert protocol.tests_of(cells[0]) == ["bright", "dark", "noisy", "all kinds"]
    assert protocol.tests_of(cells[1]) == ["bright"]
    assert len(replace(protocol, kinds=("dark",)).cells()) == 2
    with pytest.raises(ValueError, match="there is no kind 'good'; choose from bright, dark, noi"):
        replace(protocol, kinds=("good",)).cells()


def test_the_unseen_kind_and_the_test_are_never_trained_on(protocol: CrossType) -> None:
    test = protocol.parts.test
    for cell in protocol.cells():
        split = protocol.split(cell)
        trained = images_of(split.normals) | images_of(split.anomalies)
        tested = images_of(split.test_normals).union(*map(images_of, split.test_anomalies.values()))
        assert not trained & (tested | images_of(split.development))
        assert not images_of(split.development) & tested
        if cell.unseen:
            unseen = np.flatnonzero(test.label == KINDS.index(cell.unseen))
            assert images_of(split.test_anomalies[cell.unseen]) == images_of(
                test.choose(unseen).images
            )


def test_gamma_is_the_share_of_anomalies_to_the_image(protocol: CrossType) -> None:
    split = protocol.split(Cell("good", 0.1, "seen", 0, "dark"))
    count = len(images_of(split.anomalies))
    assert count == round(0.1 * (count + len(split.normals))) == 5
    with pytest.raises(ValueError, match=r"^gamma 0.5 takes 41 anomalies of other kinds than 'da"):
        protocol.split(Cell("good", 0.5, "seen", 0, "dark"))


def test_subjects_of_the_threshold_are_not_trained_on(protocol: CrossType) -> None:
    train = part([60], 0)
    group = tuple(str(row // 6) for row in range(60))
    parts = Parts(replace(train, group=group), protocol.parts.test)
    split = replace(protocol, parts=parts).split(protocol.cells()[0])
    subject = dict(zip([train.images[r].tobytes() for r in range(60)], group, strict=True))
    kept = {subject[image] for image in images_of(split.development)}
    assert kept and not kept & {subject[image] for image in images_of(split.normals)}


def test_a_set_without_a_normal_class_is_told(protocol: CrossType) -> None:
    test = replace(protocol.parts.test, classes=("airplane", "bird", "cat", "dog"))
    with pytest.raises(ValueError, match="first class of made is 'airplane'; cross-type needs a n"):
        replace(protocol, parts=replace(protocol.parts, test=test)).cells()


def test_anomalies_of_the_training_part_come_first(protocol: CrossType) -> None:
    parts = Parts(part([60, 9, 9, 9], 0), protocol.parts.test)
    split = replace(protocol, parts=parts).split(Cell("good", 0.1, "seen", 0, "dark"))
    assert parts.train is not None
    assert images_of(split.anomalies) <= images_of(parts.train.images)


def test_thresholds_come_from_the_development_normals(protocol: CrossType) -> None:
    split = protocol.split(protocol.cells()[0])
    exam = Exam.of(split, METHODS["deepsad"].config)
    contender = Brightness()
    judged = protocol.judge(contender, exam)["brightness"]  # type: ignore[arg-type]
    normal = contender.scores(exam.test_normals)["brightness"]
    kinds = {k: contender.scores(v)["brightness"] for k, v in exam.test_anomalies.items()}
    assert exam.development is not None
    development = contender.scores(exam.development)["brightness"]
    threshold = float(max(development))  # of nineteen, above which there may be 5%
    assert len(development) == 19
    for kind, scores in kinds.items():
        expected = attack_metrics(normal, {kind: scores}, threshold)
        assert judged[kind].measures == expected | {"auroc": auroc(normal, scores)}
    assert judged["bright"].measures["apcer"] == 0 and judged["dark"].measures["apcer"] == 1
    assert judged["all kinds"].measures["apcer"] == 1
    assert judged["all kinds"].images == 20 + 8 + 9 + 10


@pytest.mark.usefixtures("three_steps")
def test_every_kind_has_a_line(protocol: CrossType, tmp_path: Path) -> None:
    entry = Entry(methods_named(["deepsad"]), 60.0, "cpu")
    runs = list(run_protocol(replace(protocol, kinds=("dark",)), entry, tmp_path / "runs.jsonl"))
    assert [(run.gamma, run.anomaly_classes, run.against) for run in runs] == [
        (0.0, "all", "bright"), (0.0, "all", "dark"), (0.0, "all", "noisy"),
        (0.0, "all", "all kinds"), (0.1, "seen", "dark"),
    ]  # fmt: skip
    assert set(runs[-1].measures) >= {"auroc", "apcer", "bpcer", "acer", "eer"}


@pytest.mark.skipif(not TILES.is_dir(), reason="the magnetic tiles are not beside the repository")
def test_the_tiles_have_five_kinds() -> None:
    tiles = CrossType("tiles", load_named("mvtec_ad", TILES))
    assert [cell.unseen for cell in tiles.cells()] == [
        "", "blowhole", "break", "crack", "fray", "uneven",
    ]  # fmt: skip
    split = tiles.split(tiles.cells()[3])
    assert len(split.normals) == 643 and split.anomalies is not None
    assert len(split.anomalies) == 34 and len(split.test_anomalies["crack"]) == 57
