import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomem.images.decode import decode
from anomem.images.listing import (
    IMAGE_SUFFIXES,
    UNREADABLE_SUFFIXES,
    groups_by_pattern,
    list_images,
)


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


def test_suffixes_are_lower_case_and_of_one_kind() -> None:
    every = IMAGE_SUFFIXES + UNREADABLE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in every)
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_what_is_listed_is_read(suffix: str, tmp_path: Path) -> None:
    kind = Image.registered_extensions().get(suffix, "JPEG")  # the others are names of JPEG
    pixels = np.full((16, 24, 3), 255, np.uint8)
    file = tmp_path / f"a{suffix.upper()}"
    Image.fromarray(pixels).save(file, format=kind)
    assert list_images(tmp_path) == [file]
    assert (decode(file) > 250).all() and decode(file).shape[:2] == (16, 24)


def test_what_pillow_opens_is_listed_or_counted() -> None:
    no_photographs = {
        *(".eps", ".ps", ".wmf", ".emf", ".mpg", ".mpeg"),  # drawings and films
        *(".h5", ".hdf", ".bufr", ".grib", ".iim", ".fit"),  # tables of measurements
        *(".ico", ".cur", ".icns", ".gbr", ".ftc", ".ftu", ".blp", ".fli", ".flc"),  # icons, games
        *(".msp", ".im", ".pcd", ".pxr", ".dcx"),  # of the eighties
        *(".bw", ".rgb", ".rgba", ".icb", ".vda", ".vst"),  # rare names of .sgi and .tga
    }
    opened = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    }
    assert opened - no_photographs <= {*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES}


def test_images_that_cannot_be_read_are_counted_in_one_line(folder: Path) -> None:
    for name in ("phone.HEIC", "sub/phone.heic", "scan.nrrd", "brain.nii.gz", ".hidden.heic"):
        (folder / name).touch()
    told = r"^4 images that cannot be read were left out \(2 \.heic, .*1 \.nii\.gz.*\), as .*; conv"
    with pytest.warns(UserWarning, match=told) as warned:
        files = list_images([folder, folder / "sub"])
    assert names(files, folder) == ["a.JPG", "b.png", "sub/c.tiff"] and len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list_images(folder / "*.png") == [folder / "b.png"]
        assert list_images(folder / "scan.nrrd") == [folder / "scan.nrrd"]
    (folder / "new").mkdir()
    (folder / "new" / "x.jxl").touch()
    with pytest.raises(
        ValueError, match=r"new: the folder has no image that can be read \(1 \.jxl"
    ):
        list_images(folder / "new")


@pytest.mark.parametrize(
    "junk",
    [
        *("@eaDir", ".thumbnails", "$RECYCLE.BIN", ".Trash-1000", "__MACOSX", "lost+found"),
        *("#recycle", "System Volume Information", "@Recycle"),
    ],
)
def test_thumbnails_and_bins_of_storage_systems_are_left_out(junk: str, folder: Path) -> None:
    expected = names(list_images(folder), folder)
    for path in (folder / junk / "b.png", folder / "sub" / junk / "c.tiff" / "SM.jpg"):
        path.parent.mkdir(parents=True)
        path.touch()
    (folder / "._b.png").touch()
    (folder / "Thumbs.db").touch()
    assert names(list_images(folder), folder) == expected
    assert names(list_images(f"{folder}/**/*.*[gG]"), folder) == ["a.JPG", "b.png"]
    assert names(list_images(f"{folder}/[!n]*"), folder) == expected
    assert list_images(folder / junk) == [folder / junk / "b.png"]
    assert list_images(f"{folder}/{junk}/*.png") == [folder / junk / "b.png"]


def test_a_system_folder_that_cannot_be_listed_is_passed_by(locked_folder: Path) -> None:
    user = os.geteuid()
    os.seteuid(os.getuid())
    (locked_folder / "sub").rename(locked_folder / "lost+found")
    os.seteuid(user)
    assert list_images(locked_folder) == [locked_folder / "secret.png"]
    os.seteuid(os.getuid())
    (locked_folder / "lost+found").rename(locked_folder / "sub")


def test_a_pattern_below_a_folder_with_brackets(folder: Path) -> None:
    for path in ("lot [3]/1.png", "lot [3]/2.png", "lot 3/3.png", "day/lot[4]-b/[x].png"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    for pattern, expected in (
        ("lot [3]/*.png", ["lot [3]/1.png", "lot [3]/2.png"]),
        ("lot [3]/[12].png", ["lot [3]/1.png", "lot [3]/2.png"]),
        ("lot [[]3]/2.*", ["lot [3]/2.png"]),
        ("lot [3-5]/*.png", ["lot 3/3.png"]),
        ("*/lot[4]*/[[]x].png", ["day/lot[4]-b/[x].png"]),
        ("**/lot[4]-b/*", ["day/lot[4]-b/[x].png"]),
    ):
        assert names(list_images(f"{folder}/{pattern}"), folder) == expected, pattern


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
