from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomem.config import Config, ViewChoices
from anomem.data.named import load_named
from anomem.evaluation.methods import METHODS
from anomem.evaluation.one_vs_all import Cell, Plan, cells, keys_of, run_plan, split_of
from anomem.evaluation.results import read
from anomem.presets import changed, flat


@pytest.fixture
def plan(digits_as_cifar10: Path) -> Plan:
    return Plan(
        data="cifar10", path=digits_as_cifar10, classes=("airplane",), gammas=(0.0, 0.1),
        draws=1, anomaly_classes="all", methods=("default", "simclr", "supervised"), budget=2.5,
        device="cpu",
    )  # fmt: skip


def images_of(array: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in array}


def test_every_run_is_a_line_and_is_run_once(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "runs.jsonl"
    runs = list(run_plan(plan, results))
    assert read(results) == runs
    simclr = {"simclr-knn", "simclr-kmeans", "simclr-mahalanobis"}
    assert {r.method for r in runs if r.gamma == 0} == {"default"} | simclr
    assert {r.method for r in runs if r.gamma == 0.1} == {"default", "supervised"} | simclr
    assert all(0 <= r.auroc <= 1 and 0 <= r.auroc_quarter <= 1 and r.steps > 0 for r in runs)
    assert all(r.test_images == 597 for r in runs)
    assert not list(run_plan(plan, results))


def test_a_stopped_bench_goes_on_where_it_stopped(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "runs.jsonl"
    plan = replace(plan, gammas=(0.0,), methods=("default", "deepsad"), budget=3.0)
    first = next(run_plan(plan, results))
    rest = list(run_plan(plan, results))
    assert [first, *rest] == read(results)
    assert {run.method for run in read(results)} == {"default", "deepsad"} and len(rest) == 1


def test_gamma_is_the_share_of_anomalies_to_the_image(plan: Plan) -> None:
    train, test = load_named("cifar10", plan.path)
    for gamma in (0.0, 0.01, 0.05, 0.1):
        split = split_of(Cell("cat", gamma, "all", 0), train, test, "test")
        count = len(split.anomalies)
        assert count == round(gamma * (count + len(split.normals)))
        assert len(split.normals) == int((train.label == 3).sum())


def test_anomalies_of_one_class_are_of_one_class(plan: Plan) -> None:
    train, test = load_named("cifar10", plan.path)
    seen = set()
    for draw in range(6):
        split = split_of(Cell("cat", 0.2, "one", draw), train, test, "test")
        label = {
            int(train.label[(train.images == image).all(axis=(1, 2, 3))][0])
            for image in split.anomalies
        }
        assert len(label) == 1 and 3 not in label
        seen |= label
    assert len(seen) > 1


@pytest.mark.parametrize("on", ["test", "validation"])
def test_what_is_measured_on_is_not_trained_on(plan: Plan, on: str) -> None:
    train, test = load_named("cifar10", plan.path)
    split = split_of(Cell("cat", 0.1, "all", 0), train, test, on)  # type: ignore[arg-type]
    trained = images_of(split.normals) | images_of(split.anomalies)
    measured = images_of(split.test)
    assert not trained & measured
    if on == "validation":
        assert not measured & images_of(test.images)
    assert set(split.test_label) == {0, 1}


def test_contamination_is_the_share_of_anomalies_among_the_normals(plan: Plan) -> None:
    train, test = load_named("cifar10", plan.path)
    split = split_of(Cell("cat", 0.1, "all", 0), train, test, "validation", 0.05)
    cats = images_of(train.images[train.label == 3])
    hidden = images_of(split.normals) - cats
    assert len(hidden) == round(0.05 * len(split.normals))
    assert not hidden & (images_of(split.anomalies) | images_of(split.test))
    assert replace(plan, contamination=0.05).title == "cifar10, 5% of the normals anomalous"


def test_draws_differ_and_repeat(plan: Plan) -> None:
    train, test = load_named("cifar10", plan.path)
    one, again, other = (
        split_of(Cell("cat", 0.1, "all", draw), train, test, "test") for draw in (0, 0, 1)
    )
    assert np.array_equal(one.anomalies, again.anomalies)
    assert not np.array_equal(one.anomalies, other.anomalies)


def test_classes_and_gammas_cross(plan: Plan) -> None:
    both = replace(plan, classes=("cat", "dog"), draws=2, anomaly_classes="one")
    listed = cells(both, load_named("cifar10", plan.path)[0].classes)
    assert len(listed) == 8
    assert {cell.anomaly_classes for cell in listed if cell.gamma == 0} == {"all"}
    with pytest.raises(ValueError, match="there is no class 'cow'; choose from airplane"):
        cells(replace(plan, classes=("cow",)), ("airplane", "cat"))


def test_other_choices_are_another_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("cat", 0.0, "all", 0)
    before = keys_of(plan, cell, "deepsad")
    assert keys_of(plan, cell, "deepsad") == before
    method = METHODS["deepsad"]
    other = replace(method.config, views=ViewChoices(crop=0.9))
    monkeypatch.setitem(METHODS, "deepsad", replace(method, config=other))
    assert not keys_of(plan, cell, "deepsad") & before


def test_digest_is_of_the_choices_that_are_not_the_plain_ones() -> None:
    method = METHODS["deepsad"]
    choices = {k: v for k, v in flat(method.config).items() if v != flat(Config())[k]}
    same = replace(method, config=changed(Config(), choices))
    other = replace(method, config=changed(method.config, {"views__crop": 0.9}))
    assert same.digest == method.digest != other.digest


def test_unknown_method(plan: Plan, tmp_path: Path) -> None:
    wrong = replace(plan, methods=("default", "magic"))
    with pytest.raises(ValueError, match="there is no method 'magic'; choose from default"):
        list(run_plan(wrong, tmp_path / "runs.jsonl"))


BUDGETS = {
    "paper": 10.0,
    "default": 3.0,
    "default-kmeans": 8.0,
    "default-no-memory": 6.0,
    "pretrained": 60.0,
}


SLOW = {"pretrained"}


@pytest.mark.parametrize(
    "name", [pytest.param(m, marks=pytest.mark.slow) if m in SLOW else m for m in METHODS]
)
def test_every_method_runs(plan: Plan, tmp_path: Path, name: str) -> None:
    one = replace(plan, gammas=(0.1,), methods=(name,), budget=BUDGETS.get(name, 1.5))
    runs = list(run_plan(one, tmp_path / "runs.jsonl"))
    assert {run.method for run in runs} == set(METHODS[name].scores)
    assert all(np.isfinite(run.auroc) for run in runs)
