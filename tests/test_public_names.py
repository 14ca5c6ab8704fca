"""Every public name stands on the page of the API with an example, which does what it says."""

import doctest
import re
import warnings
from pathlib import Path

import pytest

import anomem

ROOT = Path(__file__).parents[1]
NAMES = re.findall(
    r"auto(?:class|function):: ([\w.]+)", (ROOT / "docs/reference/api.md").read_text("utf-8")
)


def test_every_public_name_is_on_the_page() -> None:
    faces = (ROOT / "src/anomem/integrations").glob("[a-z]*.py")
    modules = ["anomem"] * len(anomem.__all__) + [f"anomem.integrations.{f.stem}" for f in faces]
    assert sorted(name.rpartition(".")[0] for name in NAMES) == sorted(modules)
    assert {f"anomem.{name}" for name in anomem.__all__} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module, _, last = name.rpartition(".")
    with warnings.catch_warnings():
        if module != "anomem":
            warnings.simplefilter("ignore")  # of the other libraries
        found = pytest.importorskip(module, reason="needs its extra", exc_type=ImportError)
        examples = doctest.DocTestFinder().find(getattr(found, last), name)
        assert any(example.examples for example in examples)
        for example in examples:
            assert doctest.DocTestRunner().run(example).failed == 0, example.name
