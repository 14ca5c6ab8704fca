from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomem.images.source import ImageSource
from anomem_bench.datasets import Parts, load_named
from anomem_bench.protocols.one_vs_all import On, OneVsAll
from anomem_bench.split import Caps, Cell


@pytest.fixture
def protocol(digits_as_cifar10: Path) -> OneVsAll:
    parts = load_named("cifar10", digits_as_cifar10)
    return OneVsAll("cifar10", parts, classes=("airplane",), gammas=(0.0, 0.1))


def images_of(source: ImageSource | None) -> list[bytes]:
    return [] if source is None else [source[row].tobytes() for row in range(len(source))]


def test_gamma_is_the_share_of_anomalies_to_the_image(protocol: OneVsAll) -> None:
    train = protocol.train
    for gamma in (0.0, 0.01, 0.05, 0.1):
        split = protocol.split(Cell("cat", gamma, "all", 0))
        count = len(images_of(split.anomalies))
        assert count == round(gamma * (count + len(split.normals)))
        assert len(split.normals) == int((train.label == 3).sum())


def test_anomalies_of_one_class_are_of_one_class(protocol: OneVsAll) -> None:
    train = protocol.train
    label = dict(zip(images_of(train.images), train.label.tolist(), strict=True))
    seen = set()
    for draw in range(6):
        split = protocol.split(Cell("cat", 0.2, "one", draw))
        own = {label[image] for image in images_of(split.anomalies)}
        assert len(own) == 1 and 3 not in own
        seen |= own
    assert len(seen) > 1


@pytest.mark.parametrize("on", ["test", "validation"])
def test_what_is_measured_on_is_not_trained_on(protocol: OneVsAll, on: On) -> None:
    split = replace(protocol, on=on).split(Cell("cat", 0.1, "all", 0))
    trained_on = {*images_of(split.normals), *images_of(split.anomalies)}
    measured = {*images_of(split.test_normals), *images_of(split.test_anomalies[""])}
    assert not trained_on & measured
    if on == "validation":
        assert not measured & set(images_of(protocol.parts.test.images))
    assert len(split.test_normals) and len(split.test_anomalies[""])


def test_contamination_is_the_share_of_anomalies_among_the_normals(protocol: OneVsAll) -> None:
    train = protocol.train
    spoilt = replace(protocol, on="validation", contamination=0.05)
    split = spoilt.split(Cell("cat", 0.1, "all", 0))
    cats = set(images_of(train.choose(np.flatnonzero(train.label == 3)).images))
    hidden = set(images_of(split.normals)) - cats
    assert len(hidden) == round(0.05 * len(split.normals))
    tested = {*images_of(split.test_normals), *images_of(split.test_anomalies[""])}
    assert not hidden & {*images_of(split.anomalies), *tested}
    assert spoilt.title == "cifar10 (validation), 5% of the normals anomalous"


def test_draws_differ_and_repeat(protocol: OneVsAll) -> None:
    one, again, other = (
        images_of(protocol.split(Cell("cat", 0.1, "all", draw)).anomalies) for draw in (0, 0, 1)
    )
    assert one == again != other


def test_classes_and_gammas_cross(protocol: OneVsAll) -> None:
    both = replace(protocol, classes=("cat", "dog"), draws=2, anomaly_classes="one")
    listed = both.cells()
    assert len(listed) == 8
    assert {cell.anomaly_classes for cell in listed if cell.gamma == 0} == {"all"}
    assert len(replace(both, classes=()).cells()) == 40
    with pytest.raises(ValueError, match="there is no class 'cow' to train and to test on; choo"):
        replace(protocol, classes=("cow",)).cells()


def test_caps_keep_gamma_and_take_some_of_the_test(protocol: OneVsAll) -> None:
    capped = replace(protocol, caps=Caps(40, 25))
    split = capped.split(Cell("cat", 0.2, "all", 0))
    assert len(split.normals) == 40 and len(images_of(split.anomalies)) == 10
    assert len(split.test_normals) == len(split.test_anomalies[""]) == 25
    whole = protocol.split(Cell("cat", 0.2, "all", 0))
    assert set(images_of(split.test_anomalies[""])) <= set(images_of(whole.test_anomalies[""]))
    again = capped.split(Cell("cat", 0.2, "all", 1))
    assert images_of(again.test_normals) == images_of(split.test_normals)  # whatever the draw
    assert capped.title == "cifar10, at most 40 normals, at most 25 tested of each kind"


def test_a_gamma_of_less_than_one_anomaly_is_told(protocol: OneVsAll) -> None:
    few = replace(protocol, caps=Caps(normals=30))
    with pytest.raises(ValueError, match=r"^gamma 0.01 beside 30 normals is less than one anomaly"):
        few.split(Cell("cat", 0.01, "all", 0))


def test_only_classes_to_train_and_to_test_on_are_normal_in_turn(protocol: OneVsAll) -> None:
    train = protocol.train
    some = Parts(train.choose(np.flatnonzero(train.label < 3)), protocol.parts.test)
    cells = replace(protocol, parts=some, classes=(), gammas=(0.0,)).cells()
    assert [cell.normal for cell in cells] == ["airplane", "automobile", "bird"]


def test_too_few_anomalies_and_a_set_without_training_images_are_told(protocol: OneVsAll) -> None:
    with pytest.raises(ValueError, match=r"^gamma 0.95 and contamination 0 take \d+ anomalies and"):
        protocol.split(Cell("cat", 0.95, "all", 0))
    alone = replace(protocol, parts=replace(protocol.parts, train=None))
    with pytest.raises(ValueError, match=r"^cifar10 has test images alone; give"):
        alone.cells()
