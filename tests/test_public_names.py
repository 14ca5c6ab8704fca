"""Every public name shows an example, and each example does what it says."""

import doctest
from pathlib import Path

import pytest

import anomem


@pytest.mark.parametrize("name", anomem.__all__)
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder()
    examples = finder.find(getattr(anomem, name), name)
    assert any(example.examples for example in examples)
    for example in examples:
        assert doctest.DocTestRunner().run(example).failed == 0, example.name
