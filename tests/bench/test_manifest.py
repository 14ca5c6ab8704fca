from pathlib import Path

import pytest

from anomem_bench.manifest import join_manifests, note_call


def test_calls_are_added_one_after_the_other(tmp_path: Path) -> None:
    note_call(tmp_path, protocol="one")
    note_call(tmp_path, protocol="two")
    text = (tmp_path / "manifest.json").read_text()
    assert text.index('"one"') < text.index('"two"')


@pytest.mark.parametrize("text", ["", "{", "{}", "[NaN]", "[" * 100_000])
def test_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest.json is damaged .*; move it away") as told:
        join_manifests([tmp_path], tmp_path / "out")
    assert "\n" not in str(told.value)
