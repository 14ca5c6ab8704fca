"""WMCA: presentation attacks on face recognition (George et al., TIFS 2020).

The videos are given against a signed licence, so the set is read from frames that its owner has
cut from them. Names of files are the official ones, with anything after them:

    train/035_01_000_0_00_frame03.png        client_session_presenter_type_instrument
    test/018_02_000_3_10_frame00.png

``train`` and ``test`` are the sets of the protocol grandtest (its ``dev`` set may be in neither, or
in ``train``). Type and instrument tell the attack, as the set's own table has it.
"""

from __future__ import annotations

import re
from pathlib import Path

from anomem.images.listing import list_images
from anomem_bench.datasets.parts import Part, Parts, first, part_of_files

_NORMAL = "bona fide"
_NAME = re.compile(r"(\d{3})_\d{2}_(\d{3})_(\d)_(\d{2,3})(?!\d)")
SOURCE = "https://www.idiap.ch/en/scientific-research/data/wmca"


def wmca(path: Path) -> Parts:
    """Read faces, bona fide and under attack; the group of an image is its subject.

    Args:
        path: A folder with ``train`` and ``test``, as above.
    """
    if not (path / "train").is_dir() or not (path / "test").is_dir():
        raise ValueError(
            f"{path} has no train and test; WMCA needs a signed licence, see {SOURCE}, and "
            "frames named as docs/results/protocols.md says."
        )
    files = {part: list_images(path / part) for part in ("train", "test")}
    classes = first([attack_of(file) for listed in files.values() for file in listed])
    train, test = (_part(listed, classes) for listed in files.values())
    return Parts(train, test)


def attack_of(file: Path) -> str:
    """Name the kind of the attack that an image shows, "bona fide" for none.

    Raises:
        ValueError: The name is not one of the set.
    """
    match = _NAME.match(file.name)
    if not match:
        raise ValueError(
            f"{file} is not named client_session_presenter_type_instrument, as in "
            "035_01_000_0_00.png; rename it."
        )
    kind, instrument = int(match[3]), int(match[4])
    if kind == 1:
        wig, rigid = range(8, 13), (2, 13, 14)
        return "wig" if instrument in wig else "rigid mask" if instrument in rigid else "glasses"
    if kind == 2:
        for last, name in ((7, "fake head"), (11, "paper mask"), (17, "rigid mask")):
            if instrument <= last:
                return name
        return "flexible mask"
    if kind == 3:
        return "replay" if instrument in (5, 10, 15) else "print"
    kinds = {0: _NORMAL, 4: "replay", 5: "makeup"}
    if kind not in kinds:
        raise ValueError(f"{file} is of the type {kind}; the set has the types 0 to 5.")
    return kinds[kind]


def _part(files: list[Path], classes: tuple[str, ...]) -> Part:
    part = part_of_files([(file, attack_of(file)) for file in files], classes)
    # A mask has its maker's face; the person behind it is the presenter.
    matches = [_NAME.match(file.name) for file in files]
    group = tuple(m[2] if m[2] != "000" else m[1] for m in matches if m)
    return Part(part.images, part.label, part.classes, group)
