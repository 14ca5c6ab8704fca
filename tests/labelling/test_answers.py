import codecs
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from anomem.labelling.answers import AnswerFile
from anomem.runtime.printing import path_as_text


def written(folder: Path, content: str | bytes) -> AnswerFile:
    file = folder / "labels.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return AnswerFile(file)


def by_name(answers: AnswerFile) -> dict[str, str]:
    folder = answers.file.parent
    return {os.path.relpath(image, folder): answer for image, answer in answers.read().items()}


def test_the_last_answer_of_an_image_counts(tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path / "labels.csv")
    assert answers.read() == {}
    for name, answer in (("a", "normal"), ("b", "skipped"), ("a", "undone"), ("a", "anomalous")):
        answers.append(tmp_path / "deep" / f"{name}.png", answer)  # type: ignore[arg-type]
    assert list(answers.read().items()) == [
        (str(tmp_path / "deep" / "b.png"), "skipped"),
        (str(tmp_path / "deep" / "a.png"), "anomalous"),
    ]
    assert AnswerFile(answers.file).read() == answers.read()


def test_a_path_is_found_as_a_table_of_scores_has_it(tmp_path: Path) -> None:
    image = tmp_path / "line\n1.png"
    image.touch()
    answers = written(tmp_path, f"image,answer\n{path_as_text(str(image))},anomalous\n")
    assert answers.read() == {str(image): "anomalous"}


def test_paths_are_seen_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    AnswerFile(tmp_path / "kept" / "labels.csv").append(tmp_path / "in, out" / "ü.png", "normal")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "kept").rename(tmp_path / "elsewhere" / "kept")
    read = AnswerFile(moved / "labels.csv").read()
    assert read == {str(tmp_path / "elsewhere" / "in, out" / "ü.png"): "normal"}


@pytest.mark.parametrize(
    "name",
    ['a"b.png', "a,b;c\td.png", "line\nend.png", "return\r.png", "=1+1.png", " .png", "\udcff.png"],
)
def test_every_name_of_a_file_comes_back(name: str, tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path / "labels.csv")
    for image in (name, "after.png"):
        answers.append(tmp_path / image, "anomalous")
    assert by_name(AnswerFile(answers.file)) == {name: "anomalous", "after.png": "anomalous"}
    assert b"\n=" not in answers.file.read_bytes()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("normal", "Normal", "GOOD", " ok ", "0", "0.0"), "normal"),
        (("anomalous", "Anomaly", "BAD", "abnormal", "Defect", "NG", "1", "1.0"), "anomalous"),
        (("skipped", "Skip"), "skipped"),
        (("undone",), "undone"),
    ],
)
def test_words_of_people_are_understood(
    words: tuple[str, ...], answer: str, tmp_path: Path
) -> None:
    rows = [f"{index}.png,{word},x" for index, word in enumerate(words)]
    answers = written(tmp_path, "\n".join(["image,answer,time", *rows]))
    assert list(answers.read().values()) == [answer] * len(words)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.png,anomolous,x", "line 3 says 'anomolous', which is not one of normal"),
        ("b.png,-1,x", "line 3 says '-1'"),
        ("b.png", "line 3 has 1 columns for 3"),
        ("b, c.png,normal,x", "line 3 has 4 columns for 3"),
        (",normal,x", "line 3 names no image"),
        ("b\0.png,normal,x", "line 3 names no image"),
        ('"b.png,normal,x', "line 3 cannot be read, as where a quote is not closed"),
        ('"b.png,normal,x\nd.png,normal,x\n"e, f.png",normal,x', "line 3 cannot be read"),
    ],
)
def test_a_row_that_is_not_understood_is_named_and_nothing_is_added(
    row: str, message: str, tmp_path: Path
) -> None:
    answers = written(tmp_path, f"image,answer,time\na.png,normal,x\n{row}\nc.png,normal,x\n")
    before = answers.file.read_bytes()
    with pytest.raises(ValueError, match=f"labels.csv, {message}.*; correct or remove that line"):
        answers.read()
    with pytest.raises(ValueError, match=message):
        answers.append(tmp_path / "g.png", "normal")
    assert answers.file.read_bytes() == before
    answers.file.write_text("image,answer,time\na.png,normal,x\n")
    answers.append(tmp_path / "g.png", "normal")
    assert by_name(answers) == {"a.png": "normal", "g.png": "normal"}


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read_and_go_on_as_they_are(
    delimiter: str, end: str, start: bytes, tmp_path: Path
) -> None:
    rows = ["Image|Remark|Answer", '"a.png"|"seen; twice, by Ada\t"|anomaly', "b.png||", "||"]
    text = end.join(rows).replace("|", delimiter)
    answers = written(tmp_path, start + text.encode())
    assert by_name(answers) == {"a.png": "anomalous"}
    answers.append(tmp_path / "c.png", "normal")
    expected = {"a.png": "anomalous", "c.png": "normal"}
    assert by_name(answers) == by_name(AnswerFile(answers.file)) == expected
    assert answers.file.read_bytes().endswith(f"\nc.png{delimiter}{delimiter}normal\n".encode())


def test_names_in_the_code_page_of_windows_are_found(tmp_path: Path) -> None:
    (tmp_path / "Stück 1.png").touch()
    answers = written(tmp_path, "image;answer\r\nStück 1.png;ok\r\n".encode("cp1252"))
    assert by_name(answers) == {"Stück 1.png": "normal"}


def test_paths_as_windows_and_people_write_them_are_found(tmp_path: Path) -> None:
    (tmp_path / "day 1").mkdir()
    for name in ("a.png", "day 1/b.png", "c\\d.png", " e.png"):
        (tmp_path / name).touch()
    rows = ["answer, image", "bad, a.png", "bad, day 1\\b.png", "ok,c\\d.png", "ok, e.png"]
    assert by_name(written(tmp_path, "\n".join(rows))) == {
        **dict.fromkeys(("a.png", "day 1/b.png"), "anomalous"),
        **dict.fromkeys(("c\\d.png", " e.png"), "normal"),
    }


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_by_name(encoding: str, tmp_path: Path) -> None:
    answers = written(tmp_path, "image,answer,time\na.png,normal,x\n".encode(encoding))
    with pytest.raises(ValueError, match=r"labels\.csv is UTF-16; save it again as CSV in UTF-8"):
        answers.read()


def test_a_row_may_wait_for_its_answer(tmp_path: Path) -> None:
    answers = written(tmp_path, "image,answer,time\na.png,normal,x\na.png,,\nb.png,,\n\n")
    assert by_name(answers) == {"a.png": "normal"}


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    answers = written(tmp_path, "path,score\na.png,1\n")
    with pytest.raises(ValueError, match="has the columns path, score and not image, answer, time"):
        answers.append(tmp_path / "a.png", "normal")
    assert answers.file.read_text() == "path,score\na.png,1\n"


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    for content in (b"", b"\n", codecs.BOM_UTF8):
        answers = written(tmp_path, content)
        answers.append(tmp_path / "a.png", "normal")
        assert by_name(AnswerFile(answers.file)) == {"a.png": "normal"}


def test_what_a_person_changes_meanwhile_counts(tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path / "labels.csv")
    for name in "abc":
        answers.append(tmp_path / f"{name}.png", "normal")
    assert by_name(answers) == dict.fromkeys(("a.png", "b.png", "c.png"), "normal")
    text = answers.file.read_text()
    answers.file.write_text(text.replace("b.png,normal", "b.png,undone"))  # of the same length
    assert by_name(answers) == {"a.png": "normal", "b.png": "undone", "c.png": "normal"}
    answers.file.write_text(text.replace("normal", "bad"))
    assert by_name(answers) == dict.fromkeys(("a.png", "b.png", "c.png"), "anomalous")
    answers.file.unlink()
    assert by_name(answers) == {}


def test_two_files_that_are_open_see_each_other(tmp_path: Path) -> None:
    one, other = (AnswerFile(tmp_path / "labels.csv") for _ in range(2))
    for index in range(10):
        (one, other)[index % 2].append(tmp_path / f"{index}.png", "normal")
        assert len(one.read()) == len(other.read()) == index + 1


def test_what_cannot_be_written_is_told_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path / "labels.csv")
    answers.append(tmp_path / "a.png", "normal")
    before = answers.file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(OSError, match=r"labels.csv: the answer was not kept \(File too large"):
            answers.append(tmp_path / "b.png", "normal")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert answers.file.read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder: the answers cannot be read"):
        AnswerFile(tmp_path / "folder").read()
    with pytest.raises(OSError, match=r"nowhere/labels.csv: the answer was not kept \(No such"):
        AnswerFile(tmp_path / "nowhere" / "labels.csv").append(tmp_path / "a.png", "normal")


def test_an_answer_among_300_000_is_kept_and_read_at_once(tmp_path: Path) -> None:
    rows = "".join(f"camera-7/part-{i}.png,normal,2026-01-01\n" for i in range(300_000))
    answers = written(tmp_path, "image,answer,time\n" + rows)
    assert len(answers.read()) == 300_000
    start = time.perf_counter()
    answers.append(tmp_path / "new.png", "anomalous")
    assert answers.read()[str(tmp_path / "new.png")] == "anomalous"
    assert time.perf_counter() - start < 0.5


def _write(file: Path, name: str) -> None:
    for number in range(10_000):
        AnswerFile(file).append(file.parent / f"{name}-{number}.png", "normal")


def test_two_writers_of_which_one_is_killed_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(file, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    time.sleep(0.5)
    for writer in writers:
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    names = [Path(image).stem for image in AnswerFile(file).read()]
    for name in "ab":
        kept = [int(stem[2:]) for stem in names if stem.startswith(name)]
        assert kept == list(range(len(kept))) and len(kept) > 10
