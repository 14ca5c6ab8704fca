from dataclasses import replace
from pathlib import Path

import pytest
from running import files_of_at_most

from anomem.runtime.files import WriteError
from anomem.watching.results import Result, ResultFile

ONE = Result(
    number=1,
    time="2026-01-02T03:04:05.678+00:00",
    path="\udcff\n.png",  # bytes that are no UTF-8
    version="120-1",
    sha256="0" * 64,
    model="f00d",
    score=1.5,
    p_value=0.25,
    threshold=2.0,
    verdict="normal",
    error=None,
    heat_map=None,
    moved_to=None,
    drift=None,
)


def test_lines_are_read_as_they_were_written_but_for_one_that_is_cut_short(tmp_path: Path) -> None:
    file, two = tmp_path / "new" / "results.jsonl", replace(ONE, number=2)
    with ResultFile(file) as results:
        results.append([ONE, two])
    whole = file.read_bytes()
    for cut in (1, 40, 99):
        file.write_bytes(whole + whole[:cut])
        with ResultFile(file) as results:
            assert results.lines == 2
            assert list(results.read()) == [ONE, two]
        assert file.read_bytes() == whole


def test_on_a_full_disk_lines_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    with ResultFile(file) as results:
        results.append([ONE])
        before = file.read_bytes()
        with (
            files_of_at_most(len(before) + 100),
            pytest.raises(WriteError, match="free some space"),
        ):
            results.append([replace(ONE, number=2)])
        assert file.read_bytes() == before
        results.append([replace(ONE, number=2)])
        assert results.lines == 2
    assert file.read_bytes().count(b"\n") == 2
