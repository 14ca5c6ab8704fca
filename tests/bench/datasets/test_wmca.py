from pathlib import Path

import pytest
from PIL import Image

from anomem_bench.datasets import load_named
from anomem_bench.datasets.wmca import attack_of

ATTACKS = {
    "035_01_000_0_00.png": "bona fide",
    "005_01_000_0_02_frame19.png": "bona fide",
    "001_02_017_1_01.png": "glasses",
    "001_02_017_1_09.png": "wig",
    "001_02_017_1_14.png": "rigid mask",
    "001_02_017_2_07.png": "fake head",
    "001_02_017_2_08.png": "paper mask",
    "001_02_017_2_17.png": "rigid mask",
    "530_03_001_2_18.png": "flexible mask",
    "530_03_001_2_99.png": "flexible mask",
    "018_02_000_3_09.png": "print",
    "018_02_000_3_10.png": "replay",
    "018_02_000_4_01.png": "replay",
    "018_02_000_5_130.png": "makeup",
}


def test_names_tell_the_attack() -> None:
    assert {name: attack_of(Path(name)) for name in ATTACKS} == ATTACKS
    with pytest.raises(ValueError, match=r"face.png is not named client_session_presenter_type_"):
        attack_of(Path("face.png"))
    with pytest.raises(ValueError, match=r"is of the type 9; the set has the types 0 to 5"):
        attack_of(Path("018_02_000_9_01.png"))


def test_bona_fide_comes_first_and_subjects_are_groups(tmp_path: Path) -> None:
    for part, names in (("train", list(ATTACKS)[:1]), ("test", list(ATTACKS))):
        (tmp_path / part).mkdir()
        for name in names:
            Image.new("RGB", (20, 20)).save(tmp_path / part / name)
    parts = load_named("wmca", tmp_path)
    assert parts.train is not None
    assert parts.test.classes == (
        "bona fide", "fake head", "flexible mask", "glasses", "makeup", "paper mask", "print",
        "replay", "rigid mask", "wig",
    )  # fmt: skip
    subject = dict(zip(parts.test.images.names, parts.test.group or (), strict=True))
    by_file = {Path(name).name: group for name, group in subject.items()}
    assert by_file["035_01_000_0_00.png"] == "035"  # nobody stands behind
    assert by_file["530_03_001_2_18.png"] == "001"  # behind a mask
    assert parts.train.choose(parts.train.label).group == ("035",)
    with pytest.raises(ValueError, match=r"has no train and test; WMCA needs a signed licence, se"):
        load_named("wmca", tmp_path / "train")
