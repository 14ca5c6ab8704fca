from pathlib import Path

import pytest

from anomem.data.listing import IMAGE_SUFFIXES, groups_by_pattern, list_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "sub/c.tiff", ".hidden.png", ".git/d.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(files: list[Path], folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


def test_folder_is_searched_and_sorted(folder: Path) -> None:
    assert names(list_images(folder), folder) == ["a.JPG", "b.png", "sub/c.tiff"]
    assert list_images(str(folder)) == list_images(folder)


def test_file_is_taken_whatever_its_suffix(folder: Path) -> None:
    assert list_images(folder / "notes.txt") == [folder / "notes.txt"]


def test_pattern(folder: Path) -> None:
    assert names(list_images(f"{folder}/*.png"), folder) == ["b.png"]
    assert names(list_images(f"{folder}/?.JPG"), folder) == ["a.JPG"]
    assert names(list_images(f"{folder}/[ab].*"), folder) == ["a.JPG", "b.png"]
    assert names(list_images(f"{folder}/**/*.tiff"), folder) == ["sub/c.tiff"]


def test_folder_that_a_pattern_matches_is_searched(folder: Path) -> None:
    assert names(list_images(f"{folder}/s*"), folder) == ["sub/c.tiff"]


def test_literal_path_wins_over_a_pattern(folder: Path) -> None:
    (folder / "[ab].png").touch()
    assert list_images(folder / "[ab].png") == [folder / "[ab].png"]


def test_list_keeps_its_order_and_drops_duplicates(folder: Path) -> None:
    given: list[str | Path] = [
        folder / "sub",
        folder / "b.png",
        folder,
        str(folder / "sub" / ".." / "b.png"),
    ]
    assert names(list_images(given), folder) == ["sub/c.tiff", "b.png", "a.JPG"]


def test_linked_folders_are_searched_once(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip  # noqa: E501
    other = tmp_path_factory.mktemp("other")
    (other / "e.png").touch()
    (folder / "linked").symlink_to(other)
    (folder / "sub" / "loop").symlink_to(folder)
    expected = ["a.JPG", "b.png", "linked/e.png", "sub/c.tiff"]
    assert names(list_images(folder), folder) == expected


def test_broken_link_is_listed_and_left_to_the_reader(folder: Path) -> None:
    link = folder / "link.png"
    link.symlink_to(folder / "gone.png")
    assert list_images(link) == [link]
    assert link in list_images(folder)


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert list_images("~/b.png") == [folder / "b.png"]


def test_errors_say_what_to_do(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"none.png: there is no such file or folder; check"):
        list_images(folder / "none.png")
    with pytest.raises(ValueError, match=r"empty: the folder has no image \(\.png, \.jpg"):
        list_images([folder / "b.png", folder / "empty"])
    with pytest.raises(ValueError, match=r"\*\.bmp: no file matches this pattern; check"):
        list_images(f"{folder}/*.bmp")
    with pytest.raises(ValueError, match=r"The list of paths is empty; give at least one"):
        list_images([])
    for path in ("", "null\0character"):
        with pytest.raises(ValueError, match=r"is not a path; give an image or a folder"):
            list_images(path)


def test_folder_that_cannot_be_listed_is_an_error(locked_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"sub: the folder cannot be listed \(Permission denied"):
        list_images(locked_folder)


def test_suffixes_are_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)


def test_group_is_the_parenthesis_or_the_whole_match() -> None:
    paths = ["day1/part07_a.png", "day1/part07_b.png", "day2/part12_a.png"]
    assert groups_by_pattern(paths, r"part(\d+)") == ["07", "07", "12"]
    assert groups_by_pattern(paths, r"day\d") == ["day1", "day1", "day2"]
    assert groups_by_pattern([], r"day\d") == []


def test_path_without_a_group_is_named() -> None:
    with pytest.raises(ValueError, match=r"b.png: the pattern 'a\\.' does not match this path"):
        groups_by_pattern(["a.png", "b.png"], r"a\.")
    with pytest.raises(ValueError, match=r"b.png: the pattern .* does not match this path"):
        groups_by_pattern(["a.png", "b.png"], r"(a)?\.png")


def test_invalid_pattern_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"The pattern '\(' is not a regular expression \(miss"):
        groups_by_pattern(["a.png"], "(")
