"""Every public name stands on the page of the API with an example, which does what it says."""

import copy
import doctest
import inspect
import re
import warnings
from pathlib import Path

import pytest

import anomem

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reference/api.md").read_text("utf-8")
NAMES = re.findall(r"auto(?:class|function):: ([\w.]+)", PAGE)
WITH_MEMBERS = re.findall(r"autoclass:: ([\w.]+)\n +:members:\n", PAGE)


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
    found = _public(name)
    names = _run(name, found, vars(inspect.getmodule(found)))
    for member in _members(found) if name in WITH_MEMBERS else []:
        # Each goes on from the example of the class, whatever the others have done since.
        own = {k: v if inspect.ismodule(v) else copy.deepcopy(v) for k, v in names.items()}
        _run(f"{name}.{member}", inspect.getattr_static(found, member), own)


def _public(name: str) -> type:
    module, _, last = name.rpartition(".")
    with warnings.catch_warnings():
        if module != "anomem":
            warnings.simplefilter("ignore")  # of the other libraries
        found = pytest.importorskip(module, reason="needs its extra", exc_type=ImportError)
    return getattr(found, last)


def _members(found: type) -> list[str]:
    """Public methods and properties that a class has of this package."""
    members = {
        name: of.fget if isinstance(of, property) else getattr(found, name)
        for name, of in inspect.getmembers_static(found)
        if not name.startswith("_")
    }
    return [n for n, of in members.items() if getattr(of, "__module__", "").startswith("anomem")]


def _run(name: str, found: object, names: dict[str, object]) -> dict[str, object]:
    """Run the example of a docstring; what it has named then."""
    text = inspect.getdoc(found) or ""
    test = doctest.DocTestParser().get_doctest(text, dict(names), name, None, None)
    assert test.examples, name
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0, name
    return test.globs
